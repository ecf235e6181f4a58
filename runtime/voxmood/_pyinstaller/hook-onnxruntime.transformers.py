"""Keep PyTorch out of frozen apps.

When ONNX Runtime prints debug information, it asks its optimizer of transformers about the machine.
That optimizer imports torch, which PyInstaller would collect where it is installed.
"""

excludedimports = ["torch", "transformers", "onnx"]
