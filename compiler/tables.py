"""Tables for people: boards, layers, estimates, verification. Only the command line imports this."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table

from .board import Board, McuBoard

UNITS = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram18": "BRAM18", "uram": "URAM", "flash": "flash", "ram": "RAM"}
"""Resource -> heading."""


def table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table whose columns are right-aligned where every cell is a number."""
    cells = [tuple(row) for row in rows]
    made = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, heading in enumerate(headings):
        numeric = bool(cells) and all(_is_number(row[index]) for row in cells)
        made.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        made.add_row(*row)
    return made


def size(count: int) -> str:
    """Bytes with a unit of 1024: '2 MB', '640 KB', '270336'."""
    for unit, factor in (("MB", 1 << 20), ("KB", 1 << 10)):
        if count >= factor and count % factor == 0:
            return f"{count // factor} {unit}"
    return f"{count}"


def boards_table(boards: Iterable[Board]) -> Table:
    """Name, kind, part or core, clock, budget."""
    rows: list[tuple[str, ...]] = []
    for board in boards:
        if isinstance(board, McuBoard):
            chip = f"{board.device} ({board.core})"
            budget = f"flash {size(board.budget.flash)}, RAM {size(board.budget.ram)}"
        else:
            chip = board.part
            budget = ", ".join(f"{UNITS[name]} {amount}" for name, amount in board.budget.items() if amount)
        rows.append((board.name, board.kind, board.title, chip, f"{board.clock_mhz:g} MHz", budget))
    return table("", ("name", "kind", "board", "part or core", "clock", "budget"), rows)


def _is_number(cell: str) -> bool:
    return not cell or cell.translate(str.maketrans("", "", ",.% -+")).isdigit()
