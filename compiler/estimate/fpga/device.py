"""What the estimator must know of an AMD/Xilinx part: its family, its DSP and LUT count, its multiplier size."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Device:
    """`family` is `7series`, `ultrascale` or `ultrascale_plus`; `dsp` and `lut` are None for an unknown part.

    A DSP slice multiplies 25 x 18 bits signed in 7 series (UG479) and 27 x 18 in UltraScale and later (UG579).
    """

    name: str
    family: str
    dsp: int | None = None
    lut: int | None = None
    slow: bool = False

    @property
    def fastest_clock_ns(self) -> float:
        """Shortest period of the family's global clock buffers, in the fastest speed grade (DS182, DS892, DS923)."""
        return 1000.0 / {"7series": 741, "ultrascale": 850, "ultrascale_plus": 891}[self.family]

    @property
    def wide_operand(self) -> int:
        """Bits of the wider signed operand of one DSP slice."""
        return 25 if self.family == "7series" else 27


# DSP slices and LUTs per part: DS190 (Zynq-7000), DS180 (7 series), DS891 (Zynq UltraScale+), DS890 (UltraScale/+),
# DS962, DS963, DS978, DS987 (Alveo, Kria), as in the product tables of these overviews.
_PARTS: tuple[tuple[str, str, int, int], ...] = (
    ("7z007s", "7series", 66, 14400),
    ("7z010", "7series", 80, 17600),
    ("7z012s", "7series", 120, 34400),
    ("7z014s", "7series", 170, 40600),
    ("7z015", "7series", 160, 46200),
    ("7z020", "7series", 220, 53200),
    ("7z030", "7series", 400, 78600),
    ("7z035", "7series", 900, 171900),
    ("7z045", "7series", 900, 218600),
    ("7z100", "7series", 2020, 277400),
    ("7s25", "7series", 80, 14600),
    ("7s50", "7series", 120, 32600),
    ("7a35t", "7series", 90, 20800),
    ("7a50t", "7series", 120, 32600),
    ("7a75t", "7series", 180, 47200),
    ("7a100t", "7series", 240, 63400),
    ("7a200t", "7series", 740, 134600),
    ("7k160t", "7series", 600, 101400),
    ("7k325t", "7series", 840, 203800),
    ("7k410t", "7series", 1540, 254200),
    ("7vx485t", "7series", 2800, 303600),
    ("7vx690t", "7series", 3600, 433200),
    ("ku035", "ultrascale", 1700, 203128),
    ("ku040", "ultrascale", 1920, 242400),
    ("ku060", "ultrascale", 2760, 331680),
    ("ku085", "ultrascale", 4100, 497520),
    ("ku115", "ultrascale", 5520, 663360),
    ("vu095", "ultrascale", 768, 537600),
    ("zu1", "ultrascale_plus", 216, 37440),
    ("zu2", "ultrascale_plus", 240, 47232),
    ("zu3", "ultrascale_plus", 360, 70560),
    ("zu4", "ultrascale_plus", 728, 87840),
    ("zu5", "ultrascale_plus", 1248, 117120),
    ("zu7", "ultrascale_plus", 1728, 230400),
    ("zu9", "ultrascale_plus", 2520, 274080),
    ("zu11", "ultrascale_plus", 2928, 298560),
    ("zu15", "ultrascale_plus", 3528, 341280),
    ("zu19", "ultrascale_plus", 1968, 522720),
    ("zu28", "ultrascale_plus", 4272, 425280),
    ("zu48", "ultrascale_plus", 4272, 425280),
    ("zu49", "ultrascale_plus", 4272, 425280),
    ("ck26", "ultrascale_plus", 1248, 117120),
    ("k26", "ultrascale_plus", 1248, 117120),
    ("k24", "ultrascale_plus", 360, 70560),
    ("ku3p", "ultrascale_plus", 1368, 162720),
    ("ku5p", "ultrascale_plus", 1824, 216960),
    ("ku15p", "ultrascale_plus", 1968, 522720),
    ("vu3p", "ultrascale_plus", 2280, 394080),
    ("vu5p", "ultrascale_plus", 3474, 600577),
    ("vu7p", "ultrascale_plus", 4560, 788160),
    ("vu9p", "ultrascale_plus", 6840, 1182240),
    ("vu11p", "ultrascale_plus", 9216, 1296000),
    ("vu13p", "ultrascale_plus", 12288, 1728000),
    ("vu37p", "ultrascale_plus", 9024, 1303680),
    ("u200", "ultrascale_plus", 6840, 1182240),
    ("u250", "ultrascale_plus", 12288, 1728000),
    ("u280", "ultrascale_plus", 9024, 1303680),
    ("u50", "ultrascale_plus", 5952, 872000),
    ("u55", "ultrascale_plus", 9024, 1303680),
    ("vck190", "ultrascale_plus", 1968, 899840),
    ("vc1902", "ultrascale_plus", 1968, 899840),
)
_UNKNOWN_FAMILIES = (
    (r"^(7|a7|k7|v7)", "7series"),
    (r"^(ku|vu)\d+$", "ultrascale"),
)


def find_device(part: str) -> Device:
    """The device of a part string in any tool's spelling (`xc7z020-clg400-1`, `7z020clg400-1`); never fails.

    An unknown part is taken for UltraScale+ with unlimited DSPs, or for the family its name shows.
    """
    core = part.strip().lower().removeprefix("xa").removeprefix("xc").removeprefix("xq")
    matches = [entry for entry in _PARTS if core.startswith(entry[0])]
    if matches:
        prefix, family, dsp, lut = max(matches, key=lambda entry: len(entry[0]))
        return Device(part, family, dsp, lut, slow=bool(re.search(r"-1l?(-|i|c|e|$)", core[len(prefix) :])))
    head = core.split("-", 1)[0]
    for pattern, family in _UNKNOWN_FAMILIES:
        if re.search(pattern, head):
            return Device(part, family)
    return Device(part, "ultrascale_plus")
