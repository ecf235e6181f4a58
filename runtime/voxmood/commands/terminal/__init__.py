"""What the sub-commands write to the terminal: streams, lines of results, and progress."""
