"""Every error a user can cause: one clear message, exit code 2, nothing half-written.

The text has one shape everywhere::

    model.onnx: node '/conv1/Conv' (Conv): <problem>
    hint: <what to do>
"""

from __future__ import annotations

EXIT_CODE = 2


class BoardfitError(Exception):
    """A problem in the user's input, told with its place and a hint.

    Args:
        problem: one sentence fragment, lower case, no full stop.
        file: the file the problem is in (model, board, data), if any.
        node: the ONNX node name, if any.
        op_type: the ONNX operator of that node, if any.
        hint: what the user can do about it, if anything is known.
    """

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        node: str | None = None,
        op_type: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.problem = problem
        self.file = file
        self.node = node
        self.op_type = op_type
        self.hint = hint
        super().__init__(str(self))

    def __str__(self) -> str:
        parts: list[str] = []
        if self.file:
            parts.append(self.file)
        if self.node is not None:
            parts.append(f"node '{self.node}'" + (f" ({self.op_type})" if self.op_type else ""))
        parts.append(self.problem)
        text = ": ".join(parts)
        return f"{text}\nhint: {self.hint}" if self.hint else text


class ModelError(BoardfitError):
    """The model file cannot be read, is not supported, or is inconsistent."""


class BoardError(BoardfitError):
    """The board is unknown or its description is invalid."""


class DataError(BoardfitError):
    """Calibration or evaluation data has the wrong form."""


class BudgetError(BoardfitError):
    """The design does not fit the board."""


class OutputError(BoardfitError):
    """The output folder cannot be written."""


class ToolError(BoardfitError):
    """An outside tool (compiler, emulator) is missing or failed."""


class UsageError(BoardfitError):
    """Command-line options or API arguments that contradict each other."""


class InternalError(Exception):
    """A broken invariant inside boardfit: always our bug, never the user's."""
