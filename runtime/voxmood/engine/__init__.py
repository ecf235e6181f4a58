"""Running a graph: ONNX Runtime sessions, providers and threads."""
