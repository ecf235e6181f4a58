"""PyInstaller's hook for voxmood, which the entry point `pyinstaller40` tells it of."""

from pathlib import Path


def hook_directories() -> list[str]:
    """Folders in which PyInstaller finds hooks."""
    return [str(Path(__file__).parent)]
