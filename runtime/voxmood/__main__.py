"""The entry point of `python -m voxmood` and of the command `voxmood`."""

import signal
import sys

# There is nothing to clean up while modules are imported, so Ctrl-C ends the process without the
# traceback of a KeyboardInterrupt. Where Ctrl-C is ignored, as under nohup, it stays ignored.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from voxmood.cli import main

if __name__ == "__main__":
    sys.exit(main())
