"""Boards: the shipped files hold, and a broken file is told by its key."""

from __future__ import annotations

import itertools
import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from boardfit.board import FpgaBoard, McuBoard, find_board, parse_board, read_board, shipped_boards
from boardfit.errors import BoardError
from boardfit.resources import Resources
from boardfit.target import FEATURES

WANTED_FPGA = {"pynq-z2", "arty-a7-35t", "arty-a7-100t", "zedboard", "cora-z7-07s", "zcu104", "kv260", "alveo-u250"}
WANTED_MCU = {
    "arduino-nano-33-ble",
    "corstone-300",
    "disco-f746ng",
    "esp32-c3",
    "mps2-an386",
    "nucleo-f446re",
    "nucleo-h743zi",
    "nucleo-l4r5zi",
    "raspberry-pi-pico",
    "raspberry-pi-pico-2",
    "stm32f103-blue-pill",
}

PYNQ = (files("boardfit.boards") / "pynq-z2.yaml").read_text(encoding="utf-8")
NUCLEO = (files("boardfit.boards") / "nucleo-l4r5zi.yaml").read_text(encoding="utf-8")


def test_every_wanted_board_is_shipped() -> None:
    assert {board.name for board in shipped_boards() if board.kind == "fpga"} >= WANTED_FPGA
    assert {board.name for board in shipped_boards() if board.kind == "mcu"} >= WANTED_MCU


def test_file_names_are_board_names() -> None:
    stems = {entry.name.removesuffix(".yaml") for entry in files("boardfit.boards").iterdir() if ".yaml" in entry.name}
    assert stems == {board.name for board in shipped_boards()}


@pytest.mark.parametrize("board", shipped_boards(), ids=lambda board: board.name)
def test_shipped_boards_are_plausible(board: McuBoard | FpgaBoard) -> None:
    assert board.source
    assert all(len(line) > 20 for line in board.source)
    if isinstance(board, FpgaBoard):
        assert board.budget.ff == 2 * board.budget.lut  # two flip-flops to a LUT in every family here
        assert re.fullmatch(r"xc?[a-z0-9]+-[A-Za-z0-9-]+", board.part)
        assert 1 <= board.clock_ns <= 20
    else:
        assert board.features <= FEATURES.keys()
        assert ("dsp" in board.features) == (board.core in ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55"))
        assert f"-mcpu={board.core}" in board.toolchain.flags or board.core.startswith("rv32")
        assert ("fpu" in board.features) == ("-mfloat-abi=hard" in board.toolchain.flags)
        assert board.emulator is not None
        for memory in (board.ram, *board.banks):
            assert memory.bytes % 1024 == 0 or board.name == "esp32-c3"
        spans = sorted((m.origin, m.origin + m.bytes) for m in (board.flash, board.ram, *board.banks))
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_figures_of_two_boards() -> None:
    assert find_board("pynq-z2").budget == Resources(lut=53200, ff=106400, dsp=220, bram18=280, uram=0)
    assert find_board("nucleo-l4r5zi").budget == Resources(flash=2 * 1024**2, ram=640 * 1024)


@pytest.mark.parametrize("spelling", ["PYNQ-Z2", "pynq_z2", "PynqZ2", "pynq z2"])
def test_names_are_matched_loosely(spelling: str) -> None:
    assert find_board(spelling).name == "pynq-z2"


def test_aliases() -> None:
    assert find_board("pico").name == "raspberry-pi-pico"


def test_unknown_board_names_the_nearest() -> None:
    with pytest.raises(BoardError, match=r"unknown board 'nucleo-l4r5'\nhint: did you mean nucleo-l4r5zi"):
        find_board("nucleo-l4r5")
    with pytest.raises(BoardError, match="'boardfit boards' lists all"):
        find_board("toaster")


def test_board_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(PYNQ.replace("name: pynq-z2", "name: mine"))
    assert find_board(str(path)).name == "mine"
    assert read_board(path).kind == "fpga"
    with pytest.raises(BoardError, match="no such board file"):
        find_board("./none.yaml")


def test_description_in_another_encoding(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BoardError, match="cannot read"):
        read_board(path)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("  dsp: 220\n", "", "key 'dsp' is missing in 'budget'"),
        ("dsp: 220", "dsp: -1", "key 'budget.dsp' is -1, but must be at least 0"),
        ("dsp: 220", "dsp: many", "key 'budget.dsp' is 'many', but must be of type integer"),
        ("dsp: 220", "dsps: 220", "unknown key 'dsps' in 'budget'; did you mean 'dsp'?"),
        ("clock_ns: 10", "clock_ns: 0", "key 'clock_ns' is 0, but must be more than 0"),
        ("kind: fpga", "kind: asic", "key 'kind' is 'asic'"),
        ("kind: fpga\n", "", "key 'kind' is missing"),
        ("part: xc7z020clg400-1", "part: z7", "key 'part': 'z7' does not match"),
        ("name: pynq-z2", "name: PYNQ; rm", "key 'name'"),
        ("clock_ns: 10", "clock_ns: [", "not valid YAML"),
    ],
)
def test_broken_fpga_files(old: str, new: str, problem: str) -> None:
    assert old in PYNQ
    with pytest.raises(BoardError) as caught:
        parse_board(PYNQ.replace(old, new, 1), "mine.yaml")
    assert str(caught.value).startswith("mine.yaml: " + problem)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("bytes: 655360", "bytes: 0", "key 'ram.bytes' is 0, but must be more than 0"),
        ("bytes: 655360", "bytes: 655360, reserved: 655360", "key 'ram.reserved' leaves no byte of 655360"),
        ("dsp, ", "dps, ", "key 'features.5' is 'dps', but must be one of thumb, riscv, multiply"),
        ("  wait_states: 5\n", "", "key 'wait_states' is missing in 'flash_timing'"),
    ],
)
def test_broken_mcu_files(old: str, new: str, problem: str) -> None:
    assert old in NUCLEO
    with pytest.raises(BoardError) as caught:
        parse_board(NUCLEO.replace(old, new, 1), "mine.yaml")
    assert str(caught.value).startswith("mine.yaml: " + problem)


def test_not_a_mapping() -> None:
    with pytest.raises(BoardError, match="is a YAML mapping"):
        parse_board("- 1", "mine.yaml")


def test_schema_and_code_name_the_same_features() -> None:
    schema = json.loads((files("boardfit") / "board_schema.json").read_text(encoding="utf-8"))
    assert schema["$defs"]["mcu"]["properties"]["features"]["items"]["enum"] == list(FEATURES)
