"""`python -m voxmood`, and where the command `voxmood` begins."""

import signal
import sys

# While modules are imported there is nothing to clean up: Ctrl-C ends the process, without the
# traceback of a KeyboardInterrupt. Left alone where it is ignored, as under nohup.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from voxmood.cli import main

if __name__ == "__main__":
    sys.exit(main())
