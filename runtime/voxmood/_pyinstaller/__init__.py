"""PyInstaller's hooks for voxmood, which PyInstaller finds by the entry point `pyinstaller40`."""

from pathlib import Path


def hook_directories() -> list[str]:
    """Return the folders in which PyInstaller looks for hooks."""
    return [str(Path(__file__).parent)]
