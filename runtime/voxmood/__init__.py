"""Speech emotion recognition that runs anywhere ONNX Runtime runs.

>>> import voxmood
>>> model = voxmood.load()
>>> model.predict("clip.wav").label
"""

from importlib import import_module
from importlib.util import find_spec

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers take it for true; typing itself takes long to import
if TYPE_CHECKING:
    from voxmood.api import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        # When first used, so that the command line is ready for Ctrl-C before NumPy and ONNX
        # Runtime are imported.
        # Modules are found by the import system, once this says that the name is none of the API.
        if find_spec(f"voxmood.{name}") is None:
            try:
                return globals().setdefault(name, getattr(import_module("voxmood.api"), name))
            except AttributeError:
                pass
        raise AttributeError(f"module 'voxmood' has no attribute {name!r}")
