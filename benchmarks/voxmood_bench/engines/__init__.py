"""What is compared: the engines of a run, their environments, their processes and their models."""
