"""What a frozen command line needs: the sub-commands, which it imports by name.

Only those of the runtime: export and benchmarks need PyTorch.
"""

from voxmood.cli import COMMANDS

hiddenimports = [module for module, _ in COMMANDS.values() if module.startswith("voxmood.")]
