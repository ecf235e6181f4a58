"""A hook that adds the sub-commands to a frozen command line, which imports them by name.

It adds only the sub-commands of the runtime, because export and benchmarks need PyTorch.
"""

from voxmood.cli import COMMANDS

_modules = [command.module for command in COMMANDS.values()]
hiddenimports = [module for module in _modules if module.startswith("voxmood.")]
