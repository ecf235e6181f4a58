"""The sub-commands of `voxmood bench`, a module each, whose `run(options)` does the work."""
