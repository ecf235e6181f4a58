"""Speech emotion recognition that runs anywhere ONNX Runtime runs.

>>> import voxmood
>>> model = voxmood.load()
>>> model.predict("clip.wav").label
"""

from importlib import import_module
from importlib.util import find_spec

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers take this for true; importing it from typing takes long
if TYPE_CHECKING:
    from voxmood.api import *  # noqa: F403
else:

    def __getattr__(name: str) -> object:
        # The API is imported when it is first used, so that the command line can handle Ctrl-C
        # before NumPy and ONNX Runtime are imported. Where the name is that of a module, the
        # AttributeError makes the import system import it.
        if find_spec(f"voxmood.{name}") is None:
            try:
                return globals().setdefault(name, getattr(import_module("voxmood.api"), name))
            except AttributeError:
                pass
        raise AttributeError(f"module 'voxmood' has no attribute {name!r}")
