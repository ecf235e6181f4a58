"""`python -m voxmood` is the command line."""

from voxmood.cli import main

raise SystemExit(main())
