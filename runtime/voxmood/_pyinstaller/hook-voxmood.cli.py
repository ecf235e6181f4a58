"""Add the sub-commands to a frozen command line, which imports them by name.

Only those of the runtime are added, since export and benchmarks need PyTorch.
"""

from voxmood.cli import COMMANDS

hiddenimports = [module for module, _ in COMMANDS.values() if module.startswith("voxmood.")]
