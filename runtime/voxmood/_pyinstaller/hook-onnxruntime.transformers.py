"""A hook that keeps PyTorch out of frozen apps.

`onnxruntime.transformers` imports torch, and ONNX Runtime uses that package only to print debug
information. Without this hook, PyInstaller would collect torch wherever it is installed.
"""

excludedimports = ["torch", "transformers", "onnx"]
