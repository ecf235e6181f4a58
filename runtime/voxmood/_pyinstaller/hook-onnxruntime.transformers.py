"""Keeps PyTorch out of frozen apps.

ONNX Runtime asks its optimiser of transformers about the machine when it prints debug information,
and that imports torch, which PyInstaller would collect where it is installed.
"""

excludedimports = ["torch", "transformers", "onnx"]
