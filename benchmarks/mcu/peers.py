"""Figures of other tools on the same models, measured with the same emulator and counting method.

Instructions per inference, bytes of flash that are not weights, and bytes of RAM with input and output (None where
the tool gives no working program). TensorFlow Lite Micro with CMSIS-NN (int8 kernels only), bakeNN 1.0, TinyEngine;
compiler arm-none-eabi-gcc 12.2 at -O2. How both are counted: docs/microcontroller-kernels.md.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """One tool on one model and core."""

    tool: str
    instructions: int
    code_bytes: int | None = None
    ram_bytes: int | None = None


PEERS: dict[tuple[str, str], tuple[Peer, ...]] = {
    ("ad01", "m4"): (
        Peer("TFLM + CMSIS-NN", 582_869, 26_408, 3_408),
        Peer("bakeNN + CMSIS-NN", 576_108, 1_608, 2_003),
    ),
    ("ic01", "m4"): (
        Peer("TFLM + CMSIS-NN", 29_862_809, 49_384, 56_408),
        Peer("bakeNN + CMSIS-NN", 79_598_647, 10_008, 55_263),
    ),
    ("kws01", "m4"): (
        Peer("TFLM + CMSIS-NN", 7_700_227, 51_560, 24_232),
        Peer("bakeNN + CMSIS-NN", 22_102_858, 14_504, 18_235),
    ),
    ("vww01", "m4"): (
        Peer("TFLM + CMSIS-NN", 24_101_539, 51_560, 102_120),
        Peer("TinyEngine (wrong output)", 19_725_802, 9_392, 61_076),
    ),
    ("ad01", "m55"): (Peer("TFLM + CMSIS-NN", 285_501, None, 6_148),),
    ("ic01", "m55"): (Peer("TFLM + CMSIS-NN", 4_913_325, None, 56_500),),
    ("kws01", "m55"): (Peer("TFLM + CMSIS-NN", 1_816_831, None, 28_848),),
    ("vww01", "m55"): (Peer("TFLM + CMSIS-NN", 6_558_390, None, 102_304),),
    ("ad01", "m0"): (Peer("bakeNN own C", 2_302_764, None, None),),
    ("kws01", "m0"): (Peer("bakeNN own C", 60_480_013, None, None),),
}
