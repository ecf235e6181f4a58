"""Speed, memory and accuracy of bundles against the reference model."""
