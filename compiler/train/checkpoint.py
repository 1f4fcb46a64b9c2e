"""Checkpoints that are whole or not there: written beside their place, forced to disk, renamed into it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError, OutputError

FINGERPRINT = "fingerprint"


def save(path: Path, arrays: Mapping[str, np.ndarray], fingerprint: str) -> None:
    """Write a checkpoint; the old one stays until the new one is complete.

    Raises:
        OutputError: it cannot be written (no space, no permission); the old one is untouched.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            whole: dict[str, Any] = {FINGERPRINT: np.asarray(fingerprint), **arrays}
            np.savez(file, **whole)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        temporary = None
    except OSError as error:
        raise OutputError(f"cannot write the checkpoint: {error.strerror or error}", file=str(path)) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()


def load(path: Path, fingerprint: str) -> dict[str, np.ndarray] | None:
    """Arrays of a checkpoint, or None if there is none.

    Raises:
        DataError: it is damaged, or of another training (network, data or options differ).
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except Exception as error:  # numpy raises ValueError, EOFError, BadZipFile ... on damaged files
        raise DataError("not a checkpoint, or a damaged one", file=str(path), hint="remove it to start anew") from error
    if str(arrays.pop(FINGERPRINT, "")) != fingerprint:
        raise DataError(
            "is the checkpoint of another training: network, data or options differ",
            file=str(path),
            hint="remove it to start anew, or give another checkpoint file",
        )
    return arrays
