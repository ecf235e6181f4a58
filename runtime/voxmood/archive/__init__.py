"""Labeling of archives: from files, folders and manifests to a table."""
