"""A progress bar over epochs."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .options import Epoch


class EpochBar:
    """Shows how many epochs are done and what the last one brought, while its context lasts."""

    def __init__(self, epochs: int, done: int) -> None:
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, TextColumn("{task.fields[told]}"), transient=True)
        self._task = self._progress.add_task("training", total=epochs, completed=done, told="")

    def __enter__(self) -> EpochBar:
        self._progress.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self._progress.stop()

    def show(self, record: Epoch) -> None:
        """One epoch more is done."""
        error = "" if record.error is None else f", error {record.error:.2f} %"
        text = f"loss {record.loss:.4f}, density {100 * record.density:.2f} %{error}"
        self._progress.update(self._task, advance=1, told=text)
