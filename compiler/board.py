"""Boards: what a design may use. Read from YAML files that a schema checks.

The boards that come with boardfit are in `boards/`, one file each; a user's own board is given by its path.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from .errors import BoardError
from .resources import Resources

SCHEMA = "board_schema.json"


@dataclass(frozen=True, slots=True)
class Memory:
    """A memory of a microcontroller.

    Attributes:
        origin: address.
        bytes: size of the contiguous range.
        reserved: bytes at its start that a program may not use (a boot loader).
        name: name in the datasheet, such as 'DTCM'.
        note: what matters about it.
    """

    origin: int
    bytes: int
    reserved: int = 0
    name: str = ""
    note: str = ""

    @property
    def usable(self) -> int:
        """Bytes a program may use."""
        return self.bytes - self.reserved


@dataclass(frozen=True, slots=True)
class FlashTiming:
    """How fast code and constants are read from flash, for the cycle model.

    Attributes:
        wait_states: extra cycles of a read that misses every buffer, at the board's clock.
        line_bytes: bytes one read of the flash brings.
        instruction_cache, data_cache: bytes of cache in front of it; 0 if there is none.
        note: prefetch and the like, in words.
    """

    wait_states: int
    line_bytes: int
    instruction_cache: int = 0
    data_cache: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Toolchain:
    """The cross compiler: `<prefix>gcc <flags>`."""

    prefix: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class McuBoard:
    """A board with a microcontroller.

    Attributes:
        name: the name users type; lower case.
        title: the maker's name of the board.
        device: the chip, as the maker orders it.
        core: processor core, in the spelling of gcc's -mcpu where it has one.
        features: instruction-set features, see `boardfit.target.FEATURES`.
        clock_mhz: highest core clock.
        flash: program memory.
        ram: the contiguous RAM a linker script uses for data, stack and arena.
        banks: further RAM that is not contiguous with `ram`.
        flash_timing: wait states and caches.
        toolchain: compiler and flags.
        emulator: machine of QEMU (qemu-system-arm, qemu-system-riscv32) that executes this core's instructions, or
            None.
        aliases: other names users type.
        source: datasheets, with the section each figure is from.
    """

    name: str
    title: str
    device: str
    core: str
    features: frozenset[str]
    clock_mhz: float
    flash: Memory
    ram: Memory
    banks: tuple[Memory, ...]
    flash_timing: FlashTiming
    toolchain: Toolchain
    emulator: str | None
    aliases: tuple[str, ...]
    source: tuple[str, ...]

    @property
    def kind(self) -> str:
        """'mcu'."""
        return "mcu"

    @property
    def budget(self) -> Resources:
        """Flash and RAM a program may use."""
        return Resources(flash=self.flash.usable, ram=self.ram.usable)


@dataclass(frozen=True, slots=True)
class Accelerator:
    """What stands between a processor and the design on an FPGA board.

    Attributes:
        shell: 'zynq' (AXI DMA beside the processor system) or 'xrt' (a kernel of an Alveo card).
        board_part: Vivado's board part without version, such as 'tul.com.tw:pynq-z2:part0'; '' if there is none.
        platform: platform that v++ links for; '' on Zynq.
    """

    shell: str
    board_part: str = ""
    platform: str = ""


@dataclass(frozen=True, slots=True)
class FpgaBoard:
    """A board with an FPGA.

    Attributes:
        name: the name users type; lower case.
        title: the maker's name of the board.
        part: the part string as Vivado wants it.
        family: device family, such as 'zynq-7000'.
        clock_ns: default clock period.
        budget: LUT, FF, DSP, BRAM18 and URAM of the device.
        aliases: other names users type.
        source: datasheets, with the table each figure is from.
        accelerator: how a processor reaches the design, or None: projects are plain IP cores.
    """

    name: str
    title: str
    part: str
    family: str
    clock_ns: float
    budget: Resources
    aliases: tuple[str, ...]
    source: tuple[str, ...]
    accelerator: Accelerator | None = None

    @property
    def kind(self) -> str:
        """'fpga'."""
        return "fpga"

    @property
    def clock_mhz(self) -> float:
        """Default clock."""
        return 1000.0 / self.clock_ns


Board = McuBoard | FpgaBoard


def find_board(name: str) -> Board:
    """The board of that name, or the board described by the file of that name.

    A name with a path separator or the ending .yaml or .yml is a file. Other names are looked up without
    regard to case, spaces, '-' and '_'.

    Raises:
        BoardError: unknown name (the nearest names are told), or an invalid file.
    """
    if "/" in name or "\\" in name or name.lower().endswith((".yaml", ".yml")):
        return read_board(Path(name))
    entry = files("boardfit.boards") / f"{name}.yaml"
    if entry.is_file():  # the usual case: no need to read all others
        # tests check the shipped files against the schema; the checker takes longer to import than many an estimate
        return _board(_yaml(entry.read_text(encoding="utf-8"), entry.name), entry.name)
    known = _shipped()
    found = known.get(_key(name))
    if found is not None:
        return found
    spellings = {key: board.name for key, board in known.items()}
    close = difflib.get_close_matches(_key(name), spellings, n=5, cutoff=0.5)
    nearest = list(dict.fromkeys(spellings[key] for key in close))[:3]
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else "'boardfit boards' lists all"
    raise BoardError(f"unknown board '{name}'", hint=hint)


def shipped_boards() -> tuple[Board, ...]:
    """All boards that come with boardfit, FPGAs first, by name."""
    unique = {board.name: board for board in _shipped().values()}
    return tuple(sorted(unique.values(), key=lambda board: (board.kind, board.name)))


def read_board(path: Path) -> Board:
    """The board a YAML file describes.

    Raises:
        BoardError: the file is missing, is not YAML, or breaks the schema (the key is told).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BoardError("no such board file", file=str(path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise BoardError(f"cannot read the board file: {error}", file=str(path)) from error
    return parse_board(text, str(path))


def parse_board(text: str, file: str) -> Board:
    """The board that YAML text describes.

    Args:
        text: the YAML text.
        file: name of the file, for messages.

    Raises:
        BoardError: not YAML, or against the schema.
    """
    data = _yaml(text, file)
    _check(data, file)
    return _board(data, file)


def _yaml(text: str, file: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BoardError(f"not valid YAML: {' '.join(str(error).split())}", file=file) from error


def _board(data: Any, file: str) -> Board:
    return _fpga(data, file) if data["kind"] == "fpga" else _mcu(data, file)


@functools.cache
def _shipped() -> Mapping[str, Board]:
    """Every look-up key (name or alias) of the boards in the package."""
    found: dict[str, Board] = {}
    for entry in sorted(files("boardfit.boards").iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".yaml"):
            board = parse_board(entry.read_text(encoding="utf-8"), entry.name)
            for name in (board.name, *board.aliases):
                if _key(name) in found:
                    problem = f"name '{name}' is already taken by {found[_key(name)].name}"
                    raise BoardError(problem, file=entry.name)
                found[_key(name)] = board
    return found


def _key(name: str) -> str:
    return "".join(character for character in name.lower() if character not in " -_")


@functools.cache
def _schema() -> Any:
    return json.loads((files("boardfit") / SCHEMA).read_text(encoding="utf-8"))


def _check(data: Any, file: str) -> None:
    """Raise one BoardError for the first key that breaks the schema."""
    import jsonschema

    if not isinstance(data, dict):
        raise BoardError("a board file is a YAML mapping", file=file)
    kind = data.get("kind")
    if kind not in ("fpga", "mcu"):
        problem = "key 'kind' is missing" if kind is None else f"key 'kind' is {kind!r}"
        raise BoardError(problem, file=file, hint="give kind: fpga or kind: mcu")
    schema = {**_schema()["$defs"][kind], "$defs": _schema()["$defs"]}
    problems = sorted(
        jsonschema.Draft202012Validator(schema).iter_errors(data),
        key=lambda problem: (list(map(str, problem.absolute_path)), str(problem.validator)),
    )
    if problems:
        raise BoardError(_explain(problems[0]), file=file)


def _explain(problem: Any) -> str:
    """A schema violation in one line with the key it is about."""
    place = ".".join(str(part) for part in problem.absolute_path)
    inside = f" in '{place}'" if place else ""
    if problem.validator == "required":
        missing = [key for key in problem.validator_value if key not in problem.instance]
        return f"key '{missing[0]}' is missing{inside}"
    if problem.validator == "additionalProperties":
        allowed = list(problem.schema["properties"])
        unknown = next(key for key in problem.instance if key not in allowed)
        close = difflib.get_close_matches(str(unknown), allowed, n=1)
        return f"unknown key '{unknown}'{inside}" + (f"; did you mean '{close[0]}'?" if close else "")
    if problem.validator in ("minimum", "exclusiveMinimum"):
        comparison = "at least" if problem.validator == "minimum" else "more than"
        return f"key '{place}' is {problem.instance}, but must be {comparison} {problem.validator_value}"
    if problem.validator == "type":
        wanted = problem.validator_value
        wanted = " or ".join(wanted) if isinstance(wanted, list) else wanted
        return f"key '{place}' is {problem.instance!r}, but must be of type {wanted}"
    if problem.validator == "enum":
        choices = ", ".join(map(str, problem.validator_value))
        return f"key '{place}' is {problem.instance!r}, but must be one of {choices}"
    return f"key '{place}': {problem.message}"


def _mcu(data: Mapping[str, Any], file: str) -> McuBoard:
    flash, ram = Memory(**data["flash"]), Memory(**data["ram"])
    for key, memory in (("flash", flash), ("ram", ram)):
        if memory.usable <= 0:
            raise BoardError(f"key '{key}.reserved' leaves no byte of {memory.bytes}", file=file)
    return McuBoard(
        name=data["name"],
        title=data["title"],
        device=data["device"],
        core=data["core"],
        features=frozenset(data["features"]),
        clock_mhz=float(data["clock_mhz"]),
        flash=flash,
        ram=ram,
        banks=tuple(Memory(**bank) for bank in data.get("banks", ())),
        flash_timing=FlashTiming(**data["flash_timing"]),
        toolchain=Toolchain(data["toolchain"]["prefix"], tuple(data["toolchain"]["flags"])),
        emulator=data["emulator"],
        aliases=tuple(data.get("aliases", ())),
        source=tuple(data["source"]),
    )


def _fpga(data: Mapping[str, Any], file: str) -> FpgaBoard:
    accelerator = Accelerator(**data["accelerator"]) if "accelerator" in data else None
    if accelerator is not None and accelerator.shell == "xrt" and not accelerator.platform:
        raise BoardError("key 'platform' is missing in 'accelerator'", file=file, hint="xrt kernels are linked for one")
    if accelerator is not None and accelerator.shell == "zynq" and not data["family"].startswith("zynq"):
        raise BoardError(f"key 'accelerator.shell' is 'zynq', but the family is '{data['family']}'", file=file)
    return FpgaBoard(
        name=data["name"],
        title=data["title"],
        part=data["part"],
        family=data["family"],
        clock_ns=float(data["clock_ns"]),
        budget=Resources(**data["budget"]),
        aliases=tuple(data.get("aliases", ())),
        source=tuple(data["source"]),
        accelerator=accelerator,
    )
