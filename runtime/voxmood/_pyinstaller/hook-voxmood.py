"""What a frozen app needs beside the modules that PyInstaller finds in import statements.

That is the model that ships, and the API, which `voxmood` imports by name. The libraries of ONNX
Runtime, soundfile and soxr are collected by PyInstaller itself and by the hooks of
pyinstaller-hooks-contrib, which PyInstaller brings.
"""

from pathlib import Path

from voxmood.bundle.locate import shipped_bundle

_bundle = shipped_bundle()
datas = [(str(_bundle), str(Path("voxmood", "models", _bundle.parent.name, "bundle")))]
hiddenimports = ["voxmood.api"]
