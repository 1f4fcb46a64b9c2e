"""What a backend makes: files in memory, with a digest, written to disk all at once or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import InternalError, OutputError

MANIFEST = "boardfit.json"
"""Name of the manifest; a folder that has one is an output of boardfit and may be replaced."""

FORMAT = 1
"""Version of the manifest's layout."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """Files in memory.

    Attributes:
        files: relative POSIX path -> content.
        entry: path of the file a person opens first.
    """

    files: Mapping[str, bytes]
    entry: str

    def __post_init__(self) -> None:
        for path in self.files:
            clean = PurePosixPath(path)
            if not clean.parts or clean.is_absolute() or ".." in clean.parts or str(clean) != path:
                raise InternalError(f"artifact path '{path}' is not a clean relative path")
        if self.entry not in self.files:
            raise InternalError(f"entry '{self.entry}' is not in the artifact")

    @property
    def digest(self) -> str:
        """SHA-256 over the sorted paths and contents, each with its length in front."""
        total = hashlib.sha256()
        for path in sorted(self.files):
            for part in (path.encode(), self.files[path]):
                total.update(len(part).to_bytes(8, "little"))
                total.update(part)
        return total.hexdigest()

    def with_files(self, files: Mapping[str, bytes]) -> Artifact:
        """This artifact and more files.

        Raises:
            InternalError: a path is already taken.
        """
        taken = sorted(self.files.keys() & files.keys())
        if taken:
            raise InternalError(f"artifact already has {taken[0]}")
        return Artifact({**self.files, **files}, self.entry)

    def with_manifest(self, facts: Mapping[str, Any]) -> Artifact:
        """This artifact and its manifest.

        The manifest holds `facts` (no time, no absolute path: the same input gives the same bytes), the
        format version, the entry, and the SHA-256 of every file.
        """
        manifest = {
            "format": FORMAT,
            **facts,
            "entry": self.entry,
            "digest": self.digest,
            "files": {path: hashlib.sha256(self.files[path]).hexdigest() for path in sorted(self.files)},
        }
        text = json.dumps(manifest, indent=2, sort_keys=False, ensure_ascii=False, allow_nan=False) + "\n"
        return self.with_files({MANIFEST: text.encode()})

    def write(self, folder: Path | str) -> Path:
        """Write all files into `folder`, which appears complete or not at all.

        The files are written to a temporary sibling that is renamed into place, so a failure or a kill leaves
        what was there before. An earlier output of boardfit is replaced; anything else is refused.

        Returns:
            The folder.

        Raises:
            OutputError: the folder holds something else, or cannot be written.
        """
        folder = Path(folder)
        check_output(folder)
        try:
            target = folder.resolve()  # a link to a folder keeps pointing there
            with _temporary_sibling(target) as parts:
                for path in sorted(self.files):
                    place = parts / path
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(self.files[path])
                _swap(parts, target)
        except OSError as error:
            raise OutputError(f"cannot write: {error.strerror or error}", file=str(folder)) from error
        return folder


def check_output(folder: Path | str) -> None:
    """Check early, before the work is done, that `Artifact.write` may write `folder`.

    Raises:
        OutputError: it is a file, or holds something that is not an output of boardfit, or is not writable.
    """
    folder = Path(folder)
    if folder.is_symlink() and not folder.exists():
        raise OutputError("is a link to nowhere", file=str(folder))
    if folder.exists():
        if not folder.is_dir():
            raise OutputError("is not a folder", file=str(folder), hint="give another folder with -o")
        try:
            occupied = any(folder.iterdir())
        except OSError as error:
            raise OutputError(f"cannot read: {error.strerror or error}", file=str(folder)) from error
        if occupied and not (folder / MANIFEST).is_file():
            raise OutputError(
                "is not empty and not an output of boardfit",
                file=str(folder),
                hint="give another folder with -o, or empty this one",
            )
    if folder.resolve() == Path.cwd():
        raise OutputError(
            "is the current folder, which cannot be replaced as a whole",
            file=str(folder),
            hint="give -o a new folder",
        )
    parent = folder.resolve().parent
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise OutputError(f"{parent} is not a folder", file=str(folder))
    try:
        tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=parent).cleanup()
    except OSError as error:
        raise OutputError(f"cannot write in {parent}: {error.strerror or error}", file=str(folder)) from error


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """The manifest of an output folder.

    Raises:
        OutputError: no such folder, no manifest, or one that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise OutputError("no such folder", file=str(folder))
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OutputError(
            f"is not an output of boardfit: no {MANIFEST}",
            file=str(folder),
            hint="give the folder of 'boardfit compile -o'",
        ) from None
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot read the manifest: {error}", file=str(path)) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise OutputError(
            "the manifest is of another version of boardfit", file=str(path), hint="compile the model again"
        )
    return manifest


def changed_files(folder: Path | str, manifest: Mapping[str, Any]) -> list[str]:
    """Paths of the manifest that are missing from `folder` or have other bytes than when written."""
    changed: list[str] = []
    for path, digest in manifest["files"].items():
        place = Path(folder) / path
        if not place.is_file() or hashlib.sha256(place.read_bytes()).hexdigest() != digest:
            changed.append(path)
    return changed


@contextlib.contextmanager
def _temporary_sibling(target: Path) -> Iterator[Path]:
    """A fresh folder beside `target` (same file system, so that a rename is atomic), removed afterwards."""
    made = _make_parents(target.parent)
    done = False
    try:
        with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as outer:
            parts = Path(outer) / "new"
            parts.mkdir()
            yield parts
            done = True
    finally:
        if not done:
            for parent in reversed(made):  # leave nothing behind on failure
                with contextlib.suppress(OSError):
                    parent.rmdir()


def _make_parents(folder: Path) -> list[Path]:
    missing: list[Path] = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    missing.reverse()
    for parent in missing:
        parent.mkdir(exist_ok=True)
    return missing


def _swap(new: Path, target: Path) -> None:
    """Put `new` where `target` is; `new.parent` is temporary and takes the old content."""
    old = new.parent / "old"
    if target.exists():
        target.rename(old)
    try:
        new.rename(target)
    except OSError:
        if old.exists():
            old.rename(target)
        raise
    if old.exists():
        shutil.rmtree(old, ignore_errors=True)
