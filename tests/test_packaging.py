"""The package: what is in the wheel, that a wheel works alone, and that start-up stays light."""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli

import boardfit

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"boardfit": "compiler", "backends": "backends", "templates": "templates", "boards": "boards"}


def _project() -> dict[str, Any]:
    return tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_packages_are_the_folders_with_an_init() -> None:
    found: set[str] = set()
    for name, folder in FOLDERS.items():
        top = "boardfit" if name == "boardfit" else f"boardfit.{name}"
        for init in (ROOT / folder).rglob("__init__.py"):
            inside = init.parent.relative_to(ROOT / folder).parts
            found.add(".".join((top, *inside)))
    listed = _project()["tool"]["setuptools"]["packages"]
    assert len(listed) == len(set(listed))
    assert set(listed) == found


def test_every_data_file_is_in_a_pattern() -> None:
    """A table that the wheel lacks is found in the checkout, and so missed by every other test."""
    patterns = _project()["tool"]["setuptools"]["package-data"]
    covered: set[Path] = set()
    for package, globs in patterns.items():
        top = package.removeprefix("boardfit").removeprefix(".")
        folder = ROOT / top.replace(".", "/") if top else ROOT / "compiler"
        covered.update(path for pattern in globs for path in folder.glob(pattern))
    for folder in FOLDERS.values():
        data = {path for suffix in ("json", "yaml", "j2") for path in (ROOT / folder).rglob(f"*.{suffix}")}
        assert data <= covered


def test_every_folder_with_modules_is_a_package() -> None:
    for folder in FOLDERS.values():
        for module in (ROOT / folder).rglob("*.py"):
            assert (module.parent / "__init__.py").is_file(), f"{module.parent} has no __init__.py"


def test_type_checkers_see_the_compiler_as_boardfit() -> None:
    link = ROOT / "typings" / "boardfit"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "compiler"


def test_version_is_the_same_everywhere() -> None:
    assert boardfit.__version__ == _project()["project"]["version"]


def test_help_answers_at_once() -> None:
    command = [sys.executable, "-m", "boardfit.cli", "--help"]
    times: list[float] = []
    for _ in range(3):  # processor time, and the best of three: other programs may be using the processor
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.5


def test_import_is_light() -> None:
    heavy = ["onnx", "onnxruntime", "hls4ml", "scipy", "tensorflow", "jinja2", "jsonschema"]
    code = f"import sys, boardfit, boardfit.cli; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert found.strip() == "[]"


def _copy_of_the_checkout(place: Path) -> Path:
    """A copy without what builds and tools leave behind, so that building writes nothing into the checkout."""
    skip = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
    )
    shutil.copytree(ROOT, place, symlinks=True, ignore=skip)
    return place


@pytest.mark.slow
def test_wheel_in_an_empty_environment(tmp_path: Path) -> None:
    source = _copy_of_the_checkout(tmp_path / "source")
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(source),
    ]
    subprocess.run(build, check=True, capture_output=True, text=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    run = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*run, str(wheel)], check=True, cwd=tmp_path)
    command = str(environment / "bin" / "boardfit")
    boards = subprocess.run([command, "boards"], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert "nucleo-l4r5zi" in boards.stdout
    assert "pynq-z2" in boards.stdout
    model, data = str(ROOT / "examples" / "digits.onnx"), str(ROOT / "examples" / "digits_calibration.npz")
    compile_digits = [command, "compile", model, "--board", "nucleo-l4r5zi", "--calibration", data, "-o", "out"]
    subprocess.run(compile_digits, check=True, capture_output=True, cwd=tmp_path)
    assert (tmp_path / "out" / "model.h").is_file()
