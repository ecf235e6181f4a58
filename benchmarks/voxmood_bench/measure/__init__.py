"""What is measured: speed, start and memory, accuracy, and where the time of one run goes."""
