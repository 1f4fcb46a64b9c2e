"""Results kept on disk, each in a file named by the content of everything it depends on.

Part of every name is the text of the program itself: a result is never taken over from another version of the code.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .errors import OutputError
from .ir.graph import Graph
from .ir.text import format_graph

CACHE_VARIABLE = "BOARDFIT_CACHE"
"""Environment variable that names the cache folder."""

PROGRAM = ("boardfit", "boardfit.backends")
"""Packages whose source text is part of every name."""


def cache_folder(given: str | Path | None = None) -> Path:
    """The folder results are cached in: the given one, that of BOARDFIT_CACHE, or the user's cache folder."""
    if given is not None:
        return Path(given)
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return Path(named)
    from platformdirs import user_cache_path

    return user_cache_path("boardfit")


@dataclass(frozen=True, slots=True)
class Store:
    """Results of one kind that depend on the same things.

    Attributes:
        folder: where they are; made when the first one is written.
        base: fingerprint of what all of them depend on.
    """

    folder: Path
    base: str

    @classmethod
    def open(cls, kind: str, depends: Any, cache: str | Path | None = None) -> Store:
        """The results of a kind that depend on `depends` and on this program's text.

        Args:
            cache: folder; None takes the variable BOARDFIT_CACHE, else the user's cache folder.
        """
        return cls(cache_folder(cache) / kind, fingerprint([program_text(), depends]))

    def get(self, key: Any) -> Any:
        """The JSON value kept for a key; None if there is none or its file is damaged."""
        try:
            return json.loads(self._path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def put(self, key: Any, value: Any) -> None:
        """Keep a JSON value: whole or not at all, written beside its place, then renamed.

        Raises:
            OutputError: it cannot be written.
        """
        path = self._path(key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".draft-")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(value, file, allow_nan=False)
                Path(draft).replace(path)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise OutputError(
                f"the cache cannot be written: {error.strerror or error}",
                file=str(path.parent),
                hint=f"set {CACHE_VARIABLE} to a folder that can be written",
            ) from error

    def _path(self, key: Any) -> Path:
        return self.folder / f"{fingerprint([self.base, key])}.json"


@cache
def program_text() -> str:
    """A digest of the program's sources and tables."""
    digest = hashlib.sha256()
    for package in PROGRAM:
        (folder,) = importlib.import_module(package).__path__
        for path in sorted(Path(folder).rglob("*")):
            if path.suffix in (".py", ".json"):
                digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """A digest equal for equal content: graphs, arrays, dataclasses, mappings, sequences, sets, plain values."""
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Graph):
        digest.update(format_graph(value).encode())
        for name in sorted(value.constants):
            _feed(digest, [name, value.constants[name].values])
    elif isinstance(value, np.ndarray):
        digest.update(f"array {value.dtype} {value.shape} ".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Enum):
        digest.update(f"{type(value).__name__}.{value.name} ".encode())
    elif is_dataclass(value) and not isinstance(value, type):
        digest.update(f"{type(value).__name__}( ".encode())
        for part in fields(value):
            _feed(digest, [part.name, getattr(value, part.name)])
        digest.update(b") ")
    elif isinstance(value, Mapping):
        _feed(digest, sorted(value.items()))
    elif isinstance(value, (list, tuple)):
        digest.update(f"[{len(value)} ".encode())
        for item in value:
            _feed(digest, item)
    elif isinstance(value, (set, frozenset)):
        _feed(digest, ["set", *sorted(fingerprint(item) for item in value)])
    elif isinstance(value, np.generic):
        _feed(digest, value.item())
    elif value is None or isinstance(value, (str, bytes, int, float, bool, Path)):
        digest.update(f"{type(value).__name__} {value!r} ".encode())
    else:
        raise TypeError(f"no fingerprint of a {type(value).__name__}")
