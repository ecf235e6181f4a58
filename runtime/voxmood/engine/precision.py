"""Which precision of a bundle to load where the caller leaves the choice to voxmood."""

from __future__ import annotations

from voxmood.bundle.description import Bundle
from voxmood.engine.int8_probe import products_saturate
from voxmood.errors import BundleError

SLOWER_WITHOUT_VNNI, SLOWER_IF_SATURATING = 1.4, 1.7
"""How many times as much of fp32's time int8 takes without VNNI, with weights of 7 bits and of 8.

On one CPU, the full-size network takes 0.40 of it with the CPU's VNNI, and 0.56 and 0.67 without.
"""


def choose_precision(bundle: Bundle, precision: str, provider: str) -> str:
    """Return the precision to load.

    Args:
        bundle: the bundle to load.
        precision: the precision that the caller wants, or `auto`: the faster of int8 and fp32 on a
            CPU, fp16 on CUDA and TensorRT, else fp32; and where the bundle lacks that, what it has.
        provider: ONNX Runtime's name of the first execution provider.

    Raises:
        BundleError: the bundle does not have the precision that the caller wants.
    """
    available = list(bundle.precisions)
    if precision != "auto":
        if precision not in available:
            raise BundleError(
                f"{bundle.name}: has no precision {precision}; there are {', '.join(available)}."
            )
        return precision
    share = int8_share(bundle) if provider == "CPUExecutionProvider" else None
    preferred = {
        "CPUExecutionProvider": "int8" if share is None or share < 1 else "fp32",
        "CUDAExecutionProvider": "fp16",
        "TensorrtExecutionProvider": "fp16",
    }.get(provider, "fp32")
    return next(name for name in (preferred, "fp32", *available) if name in available)


def int8_share(bundle: Bundle) -> float | None:
    """Return about which share of fp32's time int8 takes on this CPU.

    It follows from the times that the export measured. That may have been on another CPU, so a
    probe says whether int8 products are slower on this one. It is None if the bundle lacks a
    precision or its time.
    """
    if not bundle.precisions.keys() >= {"fp32", "int8"}:
        return None
    fp32, int8 = (bundle.precisions[name].measured for name in ("fp32", "int8"))
    if int8.get("weight_only") is True:
        return 1.0  # it computes what fp32 computes
    mine, other = (measured.get("real_time_factor") for measured in (int8, fp32))
    if not (isinstance(mine, (int, float)) and isinstance(other, (int, float)) and other > 0):
        return None
    if int8.get("products_saturate") or not products_saturate():
        return mine / other
    seven_bits = bundle.precisions["int8"].seven_bits
    return mine / other * (SLOWER_WITHOUT_VNNI if seven_bits else SLOWER_IF_SATURATING)
