"""What a frozen app needs beside voxmood's modules: the model that ships.

The libraries of ONNX Runtime, soundfile and soxr are collected by PyInstaller itself and by the
hooks of pyinstaller-hooks-contrib, which PyInstaller brings.
"""

from pathlib import Path

from voxmood.locate import shipped_bundle

_bundle = shipped_bundle()
datas = [(str(_bundle), str(Path("voxmood", "models", _bundle.parent.name, "bundle")))]
