"""The command line. Exit status: 0 done, 1 a check failed or an input was bad, 2 wrong usage."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import voxmood
from voxmood.commands.options import modules_of_extras
from voxmood.commands.terminal import console
from voxmood.errors import MissingExtraError, VoxmoodError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite


@dataclass(frozen=True)
class Command:
    """A sub-command of `voxmood`.

    Attributes:
        module: name of the module that implements it by `add_arguments` and `run`.
        summary: one line of help.
        example: a command line that its help shows.
        needs: modules that it needs and the lean runtime lacks.
        extras: extras of the distribution that install them.
    """

    module: str
    summary: str
    example: str
    needs: tuple[str, ...] = ()
    extras: str = "cpu"


COMMANDS = {
    "predict": Command(
        "voxmood.commands.predict", "Label recordings.", "voxmood predict clip.wav other.flac"
    ),
    "batch": Command(
        "voxmood.commands.batch",
        "Label an archive of recordings into a table.",
        "voxmood batch recordings --output labels.csv",
    ),
    "timeline": Command(
        "voxmood.commands.timeline",
        "Label a long recording window by window.",
        "voxmood timeline call.wav --channel each --summary",
    ),
    "listen": Command(
        "voxmood.commands.listen",
        "Label live audio from a microphone.",
        "voxmood listen --window 3",
        ("sounddevice",),
        "mic",
    ),
    "info": Command(
        "voxmood.commands.info",
        "Describe a bundle and this installation.",
        "voxmood info bundle@int8",
    ),
    "compare": Command(
        "voxmood.commands.compare",
        "Check that a model decides as a reference model does.",
        "voxmood compare bundle@fp32 bundle@int8 --audio recordings",
    ),
    "evaluate": Command(
        "voxmood.commands.evaluate",
        "Measure how well a model answers where the truth is known.",
        "voxmood evaluate bundle@int8 --manifest list.csv",
    ),
    "export": Command(
        "voxmood_export.cli",
        "Make a bundle from a checkpoint.",
        "voxmood export superb/wav2vec2-large-superb-er bundle --audio recordings",
        ("torch", "transformers"),
        "export,cpu",
    ),
    "calibrate": Command(
        "voxmood_export.calibration.cli",
        "Make the probabilities of a bundle mean something, by labeled recordings.",
        "voxmood calibrate bundle --manifest list.csv --output calibrated",
        ("onnx_ir",),
        "export,cpu",
    ),
    "bench": Command(
        "voxmood_bench.cli",
        "Benchmark a bundle against its reference and other engines.",
        "voxmood bench run bundle --reference checkpoint --output report",
        ("librosa", "matplotlib", "sklearn", "onnx", "torch"),
        "bench,export,optimum,cpu",
    ),
}


class _Help(argparse.HelpFormatter):
    """Help whose paragraphs stay apart, as argparse's own do not."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = text.split("\n\n")
        return "\n\n".join(
            super(_Help, self)._fill_text(each, width, indent) for each in paragraphs
        )


class _Parser(argparse.ArgumentParser):
    """A parser that does not hide that its help cannot be written to standard output.

    Its `wrong_usage` is among the options: the function that ends the program with a message and
    the usage of the command that was called.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, formatter_class=_Help)
        self.set_defaults(wrong_usage=self.error)

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        if file is not None and file is sys.stdout:
            file.write(message)
        else:
            with suppress(OSError):  # as newer releases of argparse do by themselves
                super()._print_message(message, file)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    console.degrade()
    try:
        try:
            return _run(arguments)
        finally:
            console.flush()  # here, because at exit an error could no longer be reported
    except VoxmoodError as error:
        console.complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of our output has closed it
        return 1
    except OSError as error:
        if sys.platform == "win32" and error.errno == errno.EINVAL and error.filename is None:
            return 1  # as BrokenPipeError elsewhere
        console.complain(f"{error.filename or 'standard output'}: {error.strerror or error}.")
        return 1
    finally:
        console.settle()


def _run(arguments: Sequence[str] | None) -> int:
    parser = _Parser(
        prog="voxmood",
        description="Speech emotion recognition.",
        epilog="`voxmood COMMAND --help` explains a command and shows an example of it.",
    )
    parser.add_argument("--version", action="version", version=f"voxmood {voxmood.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        if _is_installed(command.module):
            subparser = commands.add_parser(name, help=command.summary, description=command.summary)
            import_module(command.module).add_arguments(subparser)
            example = f"Example: {command.example}"
            subparser.epilog = "\n\n".join(filter(None, [subparser.epilog, example]))
        else:  # in a frozen program, where `_check_extras` refuses it whatever its arguments are
            subparser = commands.add_parser(
                name, help=command.summary, prefix_chars=" ", add_help=False
            )
            subparser.add_argument("arguments", nargs="*")
    if "_ARGCOMPLETE" in os.environ:  # a shell asks which words are possible
        import_module("argcomplete").autocomplete(parser)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        options.wrong_usage(f"unrecognized arguments: {' '.join(unknown)}")
    _check_extras(options)
    # Import NumPy and ONNX Runtime here: Ctrl-C still ends the process, and --help is already done.
    import_module("voxmood.api")
    run: Callable[[argparse.Namespace], int] = import_module(COMMANDS[options.command].module).run
    with _keyboard_interrupts():
        return run(options)


@contextmanager
def _keyboard_interrupts() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt, if `__main__` has let it end the process."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_DFL:
        yield
        return

    timers = hasattr(signal, "setitimer")  # Windows has none

    def raise_again(unraisable: sys.UnraisableHookArgs) -> None:
        # Python would print and forget a KeyboardInterrupt that is raised in a __del__.
        if timers and unraisable.exc_type is KeyboardInterrupt:
            signal.setitimer(signal.ITIMER_REAL, 0.01)
        else:
            sys.__unraisablehook__(unraisable)

    sys.unraisablehook = raise_again
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if timers:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        yield
    finally:
        if timers:
            signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def _check_extras(options: argparse.Namespace) -> None:
    """Check that all that the command and its options need is installed, without importing it.

    Benchmarks measure the memory of engines in processes that begin as copies of this one.
    """
    name = options.command
    command = COMMANDS[name]
    if not _is_installed(command.module):
        raise MissingExtraError(
            f"{name} is not part of this program; install it in a Python environment: "
            f"pip install 'voxmood[{command.extras}]'."
        )
    needed = [("", module, command.extras) for module in command.needs]
    needed += modules_of_extras(options)
    missing = [each for each in needed if not _is_installed(each[1])]
    if missing:
        given, modules, extras = (list(dict.fromkeys(each)) for each in zip(*missing, strict=True))
        are = "are" if len(modules) > 1 else "is"
        raise MissingExtraError(
            f"{' '.join([name, *filter(None, given)])} needs {' and '.join(modules)}, which {are} "
            f"not installed: pip install 'voxmood[{','.join(extras)}]'."
        )


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ModuleNotFoundError, ValueError):  # its package is missing; it is None in sys.modules
        return False
