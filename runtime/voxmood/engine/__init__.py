"""The engine runs a graph: ONNX Runtime sessions, execution providers and threads."""
