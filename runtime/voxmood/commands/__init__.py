"""The sub-commands, one module each, and the options and terminal output that they share."""
