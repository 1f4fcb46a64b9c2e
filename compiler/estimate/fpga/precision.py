"""ap_fixed-like number formats as the estimator sees them: a width and what it costs to round and saturate."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FORMAT = re.compile(r"ap_(u?)(fixed|int)\s*<\s*(-?\d+)\s*(?:,\s*(-?\d+)\s*)?((?:,\s*[A-Z_a-z]+\s*)*)>")
_PACKED = re.compile(r"array\s*<.*>?\s*,\s*(\d+)\s*(?:\*\s*(\d+)\s*)?>")
_SATURATING = frozenset({"SAT", "SAT_ZERO", "SAT_SYM"})


WIDEST = 1024  # AP_INT_MAX_W, unless a project sets it


@dataclass(frozen=True, slots=True)
class Precision:
    """A binary fixed-point format: `width` bits in total of which `integer` (sign included) stand before the point.

    `rounds` and `saturates` say whether a cast to this format needs an adder or a comparator (AP_RND*, AP_SAT*);
    plain truncation and wrap-around are wires.
    """

    width: int
    integer: int
    signed: bool = True
    rounds: bool = False
    saturates: bool = False

    @property
    def frac(self) -> int:
        """Bits behind the binary point (negative when the step is coarser than one)."""
        return self.width - self.integer


def parse_precision(text: str | None) -> Precision | None:
    """Read `ap_fixed<16,6>`, `ap_ufixed<8,0,AP_RND_CONV,AP_SAT>`, `ap_int<6>`, or an nnet::array of one; else None."""
    if not text:
        return None
    found = _FORMAT.search(text)
    if found is None:
        return None
    unsigned, family, width, integer, modes = found.groups()
    names = {mode.strip().removeprefix("AP_") for mode in modes.split(",")}
    total = int(width)
    whole = total if family == "int" else int(integer or total)
    if not 0 < total <= WIDEST or abs(whole) > 2 * WIDEST:
        return None
    return Precision(
        width=total,
        integer=whole,
        signed=not unsigned,
        rounds=any(name.startswith("RND") for name in names),
        saturates=bool(names & _SATURATING),
    )


def parse_pack(text: str | None) -> int | None:
    """Elements that travel together in one stream word (`nnet::array<ap_fixed<16,6>,4*1>` -> 4); None for a scalar."""
    if not text or "array" not in text:
        return None
    found = _PACKED.search(text)
    if found is None:
        return None
    return int(found.group(1)) * int(found.group(2) or 1) or None
