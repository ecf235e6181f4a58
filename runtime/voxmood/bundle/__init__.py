"""The bundle: its description, what its ONNX files declare, and where it is found."""
