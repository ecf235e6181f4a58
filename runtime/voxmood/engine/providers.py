"""The execution providers that have a short name."""

PROVIDERS = {
    "cpu": ("CPUExecutionProvider", "cpu"),
    "cuda": ("CUDAExecutionProvider", "gpu"),
    "openvino": ("OpenVINOExecutionProvider", "openvino"),
}
"""Those that a flavor of ONNX Runtime has built in: for each short name, ONNX Runtime's name and
the extra that installs it."""

PACKAGES = {
    "openvino": "onnxruntime-ep-openvino",
    "webgpu": "onnxruntime-ep-webgpu",
    "tensorrt-rtx": "onnxruntime-ep-nv-tensorrt-rtx",
    "qnn": "onnxruntime-qnn",
}
"""Those that are plug-ins: for each short name, the package that pip installs."""

PREFIX = "onnxruntime-ep-"
"""What the names of packages of plug-ins begin with; any other plug-in is called by the rest."""

SHORT_NAMES = tuple(dict.fromkeys([*PROVIDERS, *PACKAGES]))

DEVICES = ("cpu", "gpu", "npu")
"""The types of hardware that a provider can be told to run on."""
