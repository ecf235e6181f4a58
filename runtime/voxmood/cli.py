"""The command line. Exit status: 0 done, 1 a check failed or an input was bad, 2 wrong usage."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

import voxmood
from voxmood.commands import console
from voxmood.errors import MissingExtraError, VoxmoodError

COMMANDS = {
    "predict": ("voxmood.commands.predict", "label recordings"),
    "batch": ("voxmood.commands.batch", "label an archive into a table"),
    "timeline": ("voxmood.commands.timeline", "label a long recording, window by window"),
    "listen": ("voxmood.commands.listen", "label what a microphone hears"),
    "info": ("voxmood.commands.info", "what a bundle and this installation are"),
    "compare": ("voxmood.commands.compare", "does a model decide as its reference does?"),
    "export": ("voxmood_export.cli", "make a bundle of a checkpoint"),
    "bench": ("voxmood_bench.cli", "a bundle against its reference and other engines"),
}
"""The module of each sub-command, which has `add_arguments` and `run`; and its one line of help."""

EXTRAS = {
    "listen": (("sounddevice",), "mic"),
    "export": (("torch", "optimum.exporters.onnx"), "export,cpu"),
    "bench": (("librosa", "matplotlib", "sklearn", "onnx", "torch"), "bench,export,cpu"),
}
"""What sub-commands need beside the lean runtime, and the extras that bring it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status."""
    console.degrade()
    try:
        try:
            return _run(arguments)
        finally:
            console.flush()  # at exit, what is wrong with the output could not be told
    except VoxmoodError as error:
        console.complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        return 1
    except OSError as error:
        console.complain(f"{error.filename or 'standard output'}: {error.strerror or error}.")
        return 1
    finally:
        console.settle()


def _run(arguments: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(prog="voxmood", description="Speech emotion recognition.")
    parser.add_argument("--version", action="version", version=f"voxmood {voxmood.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, summary) in COMMANDS.items():
        if _is_there(module):
            import_module(module).add_arguments(commands.add_parser(name, help=summary))
        else:  # in a frozen program; what is written after the command matters no more
            command = commands.add_parser(name, help=summary, prefix_chars=" ", add_help=False)
            command.add_argument("arguments", nargs="*")
    options = parser.parse_args(arguments)
    _check_extras(options.command)
    # Here, where Ctrl-C still ends the process, and after --help, which needs no ONNX Runtime.
    import_module("voxmood.api")
    run: Callable[[argparse.Namespace], int] = import_module(COMMANDS[options.command][0]).run
    with _keyboard_interrupts():
        return run(options)


@contextmanager
def _keyboard_interrupts() -> Iterator[None]:
    """Lets Ctrl-C raise KeyboardInterrupt, where `__main__` had it end the process."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
        yield
        return

    timers = hasattr(signal, "setitimer")  # not on Windows

    def once_more(unraisable: sys.UnraisableHookArgs) -> None:
        # It was raised in a __del__, which Python would print and forget.
        if timers and unraisable.exc_type is KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            sys.__unraisablehook__(unraisable)

    sys.unraisablehook = once_more
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if timers:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        yield
    finally:
        if timers:
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _check_extras(command: str) -> None:
    # Found and not imported: what engines take in memory is measured in processes that begin as
    # copies of this one.
    modules, extras = EXTRAS.get(command, ((), "cpu"))
    if not _is_there(COMMANDS[command][0]):
        raise MissingExtraError(
            f"{command} is not part of this program; pip install 'voxmood[{extras}]' brings it "
            "to a Python environment."
        )
    for module in modules:
        if not _is_there(module):
            raise MissingExtraError(f"{command} needs {module}: pip install 'voxmood[{extras}]'.")


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # of a package in front of the dot; set to None
        return False
