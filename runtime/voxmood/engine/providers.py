"""The execution providers that have a short name."""

PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "cpu"),
    "cuda": ("CUDAExecutionProvider", "gpu"),
    "openvino": ("OpenVINOExecutionProvider", "openvino"),
}
"""Short name to ONNX Runtime's name and the extra that brings it."""
