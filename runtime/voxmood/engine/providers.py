"""The execution providers that have a short name."""

PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "cpu"),
    "cuda": ("CUDAExecutionProvider", "gpu"),
    "openvino": ("OpenVINOExecutionProvider", "openvino"),
}
"""For each short name, ONNX Runtime's name and the extra that installs it."""
