"""Artifacts: same input, same bytes; written whole or not at all; nobody's files overwritten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from boardfit.artifact import MANIFEST, Artifact, changed_files, check_output, read_manifest
from boardfit.errors import InternalError, OutputError

FILES = {"model.h": b"#pragma once\n", "src/model.c": b'#include "model.h"\n'}


def _artifact(**more: bytes) -> Artifact:
    return Artifact({**FILES, **more}, "model.h").with_manifest({"model": {"sha256": "0" * 64}})


def test_digest_depends_on_paths_and_contents_only() -> None:
    turned = Artifact(dict(reversed(FILES.items())), "model.h")
    assert turned.digest == Artifact(FILES, "model.h").digest
    assert Artifact({**FILES, "a": b""}, "a").digest != turned.digest
    assert Artifact({"ab": b"c"}, "ab").digest != Artifact({"a": b"bc"}, "a").digest


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "", "a//b", "./a"])
def test_paths_stay_inside(path: str) -> None:
    with pytest.raises(InternalError):
        Artifact({path: b""}, path)


def test_no_path_twice() -> None:
    with pytest.raises(InternalError):
        Artifact(FILES, "model.h").with_files({"model.h": b""})


def test_write_then_read_back(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    artifact = _artifact()
    artifact.write(folder)
    found = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == dict(artifact.files)
    manifest = read_manifest(folder)
    assert manifest["digest"] == Artifact(FILES, "model.h").digest
    assert changed_files(folder, manifest) == []
    (folder / "model.h").write_bytes(b"edited")
    (folder / "src" / "model.c").unlink()
    assert changed_files(folder, manifest) == ["model.h", "src/model.c"]
    assert [p.name for p in folder.parent.iterdir()] == ["out"]


def test_an_output_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    _artifact(extra=b"old").write(folder)
    _artifact().write(folder)
    assert not (folder / "extra").exists()


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert (_artifact().write(tmp_path / "out") / MANIFEST).is_file()


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("three years of work")
    with pytest.raises(OutputError, match="not an output of boardfit"):
        _artifact().write(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(OutputError, match="is not a folder"):
        _artifact().write(tmp_path / "out")
    with pytest.raises(OutputError, match="is not a folder"):
        _artifact().write(tmp_path / "out" / "deeper")


def test_the_current_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="current folder"):
        check_output(".")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_place_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        check_output(tmp_path / "out")


def test_a_place_that_takes_no_folders_is_an_output_error() -> None:
    with pytest.raises(OutputError, match="cannot write in /proc"):
        _artifact().write("/proc/boardfit-out")


def test_a_failure_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    _artifact(extra=b"old").write(folder)
    calls = 0
    original = Path.write_bytes

    def full_disk(self: Path, data: bytes) -> int:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise OSError(28, "No space left on device")
        return original(self, data)

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OutputError, match="No space left"):
        _artifact().write(folder)
    assert (folder / "extra").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    calls = 0
    with pytest.raises(OutputError, match="No space left"):
        _artifact().write(tmp_path / "deep" / "new")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_kill_leaves_no_half_written_folder(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    program = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from boardfit.artifact import Artifact
        original = Path.write_bytes
        def slow(self, data):
            original(self, data)
            print("wrote", flush=True)
            time.sleep(60)
        Path.write_bytes = slow
        Artifact({{"a": b"1", "b": b"2"}}, "a").with_manifest({{}}).write({str(folder)!r})
        """
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"wrote\n"
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    time.sleep(0.05)
    assert not folder.exists()


def test_manifest_of_a_foreign_or_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no such folder"):
        read_manifest(tmp_path / "none")
    with pytest.raises(OutputError, match="is not an output of boardfit"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(OutputError, match="cannot read the manifest"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text('{"format": 0}')
    with pytest.raises(OutputError, match="another version"):
        read_manifest(tmp_path)
