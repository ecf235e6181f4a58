"""A hook that adds what a frozen app needs and PyInstaller cannot see in import statements.

This is the model that ships, the graph that shows how the CPU multiplies int8, and the module
`voxmood.api`, which `voxmood` imports by name. PyInstaller itself and its dependency
pyinstaller-hooks-contrib collect the libraries of ONNX Runtime, soundfile and soxr.
"""

from pathlib import Path

from voxmood.bundle.locate import shipped_bundle

_bundle = shipped_bundle()
_engine = Path(__file__).parents[1] / "engine"
datas = [
    (str(_bundle), str(Path("voxmood", "models", _bundle.parent.name, "bundle"))),
    (str(_engine / "int8_probe.onnx"), str(Path("voxmood", "engine"))),
]
hiddenimports = ["voxmood.api"]
