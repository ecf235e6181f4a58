"""A hook that adds what a frozen app needs and PyInstaller cannot see in import statements.

This is the model that ships, and the module `voxmood.api`, which `voxmood` imports by name.
PyInstaller itself and its dependency pyinstaller-hooks-contrib collect the libraries of ONNX
Runtime, soundfile and soxr.
"""

from pathlib import Path

from voxmood.bundle.locate import shipped_bundle

_bundle = shipped_bundle()
datas = [(str(_bundle), str(Path("voxmood", "models", _bundle.parent.name, "bundle")))]
hiddenimports = ["voxmood.api"]
