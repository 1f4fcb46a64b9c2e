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

_EXPORTS = {
    "api": ("Compilation", "compile", "estimate", "inspect", "verify"),
    "board": ("FpgaBoard", "McuBoard", "find_board", "shipped_boards"),
    "errors": ("BoardfitError",),
    "estimate.report": ("Estimate",),
    "inspection": ("Inspection",),
    "options": (
        "BackendOptions",
        "CalibrationMethod",
        "HlsTool",
        "ImportOptions",
        "IoType",
        "QuantizeOptions",
        "SoftmaxMode",
        "Strategy",
    ),
    "resources": ("Resources",),
    "verification": ("Verification",),
}
"""Module -> public names it holds."""

_HOME = {name: module for module, names in _EXPORTS.items() for name in names}

__all__ = ["__version__", *sorted(_HOME)]

if TYPE_CHECKING:
    from .api import Compilation, compile, estimate, inspect, verify
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
