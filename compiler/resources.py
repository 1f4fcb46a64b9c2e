"""What a design needs and what a board has: one vector of resources for FPGAs and microcontrollers."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True)
class Shortage:
    """One resource of which a design needs more than the board has."""

    resource: str
    need: int
    have: int

    @property
    def missing(self) -> int:
        """How much is missing."""
        return self.need - self.have


@dataclass(frozen=True, slots=True)
class Resources:
    """Amounts of every resource boardfit counts.

    Attributes:
        lut, ff: look-up tables and flip-flops of the programmable logic.
        dsp: DSP48 slices.
        bram18: block RAMs of 18 Kbit (a 36 Kbit block counts as two).
        uram: UltraRAM blocks of 288 Kbit.
        flash, ram: bytes of a microcontroller.
        cycles: clock cycles of one inference; a time, not a capacity, so no budget is checked against it.
    """

    lut: int = 0
    ff: int = 0
    dsp: int = 0
    bram18: int = 0
    uram: int = 0
    flash: int = 0
    ram: int = 0
    cycles: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(getattr(self, name) + getattr(other, name) for name in NAMES))

    def __sub__(self, other: Resources) -> Resources:
        return Resources(*(getattr(self, name) - getattr(other, name) for name in NAMES))

    def over(self, budget: Resources) -> tuple[Shortage, ...]:
        """The capacities of `budget` that this need exceeds, in the order of the fields."""
        return tuple(
            Shortage(name, getattr(self, name), getattr(budget, name))
            for name in CAPACITIES
            if getattr(self, name) > getattr(budget, name)
        )

    def fits_in(self, budget: Resources) -> bool:
        """Whether every capacity of `budget` is enough."""
        return not self.over(budget)

    def items(self) -> tuple[tuple[str, int], ...]:
        """(resource, amount) for every field, in order."""
        return tuple((name, getattr(self, name)) for name in NAMES)


NAMES: tuple[str, ...] = tuple(f.name for f in fields(Resources))
"""All resources, in the order of tables."""

CAPACITIES: tuple[str, ...] = tuple(name for name in NAMES if name != "cycles")
"""The resources a board has a limited amount of."""
