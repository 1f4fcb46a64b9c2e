"""From a trained ONNX network and the name of a board to verified firmware or a verified FPGA project.

    import boardfit

    made = boardfit.compile("model.onnx", "nucleo-l4r5zi", "calibration.npz", output="out")
    print(made.estimate.total)
    assert boardfit.verify("out").equal

Everything is imported when it is first used, so that `import boardfit` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "BackendOptions",
    "BoardfitError",
    "CalibrationMethod",
    "Compilation",
    "Estimate",
    "FpgaBoard",
    "HlsTool",
    "ImportOptions",
    "Inspection",
    "IoType",
    "McuBoard",
    "ProjectFormat",
    "ProjectKind",
    "QuantizeOptions",
    "Resources",
    "SoftmaxMode",
    "Strategy",
    "Verification",
    "__version__",
    "compile",
    "estimate",
    "find_board",
    "inspect",
    "report",
    "shipped_boards",
    "verify",
]

_HOME = {
    "BackendOptions": "options",
    "BoardfitError": "errors",
    "CalibrationMethod": "options",
    "Compilation": "api",
    "Estimate": "estimate.report",
    "FpgaBoard": "board",
    "HlsTool": "options",
    "ImportOptions": "options",
    "Inspection": "inspection",
    "IoType": "options",
    "McuBoard": "board",
    "ProjectFormat": "options",
    "ProjectKind": "options",
    "QuantizeOptions": "options",
    "Resources": "resources",
    "SoftmaxMode": "options",
    "Strategy": "options",
    "Verification": "verification",
    "compile": "api",
    "estimate": "api",
    "find_board": "board",
    "inspect": "api",
    "shipped_boards": "board",
    "report": "api",
    "verify": "api",
}
"""Public name -> module that holds it."""

if TYPE_CHECKING:
    from .api import Compilation, compile, estimate, inspect, report, verify
    from .board import FpgaBoard, McuBoard, find_board, shipped_boards
    from .errors import BoardfitError
    from .estimate.report import Estimate
    from .inspection import Inspection
    from .options import (
        BackendOptions,
        CalibrationMethod,
        HlsTool,
        ImportOptions,
        IoType,
        ProjectFormat,
        ProjectKind,
        QuantizeOptions,
        SoftmaxMode,
        Strategy,
    )
    from .resources import Resources
    from .verification import Verification
else:
    # The first import of a subpackage binds its name here; `boardfit.estimate` is to be the function. Later imports
    # from the subpackage find it loaded and bind nothing.
    from . import estimate

    del estimate


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'boardfit' has no attribute '{name}'")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
