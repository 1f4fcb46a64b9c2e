"""Vendor reports: the layouts of Vivado HLS, Vitis HLS and Vivado, written here after their documentation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from boardfit.artifact import Artifact
from boardfit.backends.hls4ml.vendor_reports import read_cosim, read_hierarchy, read_hls, read_hls_xml, read_utilization
from boardfit.errors import OutputError, UsageError
from boardfit.tables import report_tables
from boardfit.vendor_report import Report, report_folder

REPORTS = Path(__file__).parent / "reports"
"""Texts in the documented layouts, written for these tests; braces stand for what differs between versions."""

LAYERS = {2: "n_dense", 3: "n_relu", 4: "n_dense_1"}

VIVADO_HLS = (REPORTS / "vivado_hls_csynth.rpt").read_text()
VITIS_HLS = (REPORTS / "vitis_hls_csynth.rpt").read_text()
XML = (REPORTS / "csynth.xml").read_text()
COSIM = (REPORTS / "cosim.rpt").read_text()
UTILIZATION = (REPORTS / "utilization.rpt").read_text()
HIERARCHY = (REPORTS / "hierarchical_utilization.rpt").read_text()
TIMING = (REPORTS / "timing_summary.rpt").read_text()


def test_vivado_hls() -> None:
    report = read_hls(VIVADO_HLS, LAYERS)
    assert report.found == {"cycles": 13, "interval": 5, "bram18": 2, "dsp": 17, "ff": 1000, "lut": 2111, "uram": 0}
    assert report.layers["n_dense"] == {
        **{"cycles": 6, "interval": 4},
        **{"bram18": 2, "dsp": 17, "ff": 900, "lut": 2000, "uram": 0},
    }
    assert report.layers["n_relu"]["lut"] == 105 and "n_dense_1" not in report.layers


def test_vitis_hls() -> None:
    report = read_hls(VITIS_HLS, LAYERS)
    assert report.found == {"cycles": 26, "interval": 10, "bram18": 7, "dsp": 12, "ff": 1300, "lut": 3400, "uram": 1}
    assert report.layers["n_dense_1"]["cycles"] == 14 and report.layers["n_dense_1"]["interval"] == 10
    assert report.layers["n_relu"] == {"bram18": 0, "dsp": 0, "ff": 102, "lut": 266, "uram": 0}


@pytest.mark.parametrize("dsp", ["DSP48E", "DSP"])
def test_the_xml_of_both(dsp: str) -> None:
    found = read_hls_xml(XML.format(dsp=dsp)).found
    assert found == {"cycles": 8, "interval": 2, "bram18": 2, "dsp": 17, "ff": 1000, "lut": 2111, "uram": 0}
    assert read_hls_xml("<profile>").found == {}


@pytest.mark.parametrize("total", [False, True])
def test_cosim_of_both_layouts(total: bool) -> None:
    more = {"b": "---+", "t": " Total |", "e": "   |", "n": " 70|"} if total else dict.fromkeys("bten", "")
    assert read_cosim(COSIM.format(s="Pass", **more)).found == {"cycles": 15, "interval": 6}
    assert read_cosim(COSIM.format(s="Fail", **more)).found == {}


@pytest.mark.parametrize(("family", "star"), [("Slice", "*"), ("CLB", ""), ("CLB", "*")])
@pytest.mark.parametrize("prohibited", [False, True])
def test_utilization(family: str, star: str, prohibited: bool) -> None:
    column = (
        {"dash": "----+", "head": " Pro |", "cell": "   0 |"}
        if prohibited
        else dict.fromkeys(("dash", "head", "cell"), "")
    )
    found = read_utilization(UTILIZATION.format(family=family, star=star, **column)).found
    assert found == {"lut": 1234, "ff": 987, "bram18": 5, "uram": 3, "dsp": 17}


@pytest.mark.parametrize("uram", [False, True])
def test_the_share_of_the_network(uram: bool) -> None:
    text = HIERARCHY.format(**({"u": "------+", "h": " URAM |", "v": "    3 |"} if uram else dict.fromkeys("uhv", "")))
    assert read_hierarchy(text, "net").found == {"lut": 1210, "ff": 940, "bram18": 5, "dsp": 17} | (
        {"uram": 3} if uram else {}
    )
    assert read_hierarchy(text, "other").found == {}


def output(folder: Path, **changes: Any) -> Path:
    figures = {"lut": [2000, 1500, 2500], "dsp": [17, 17, 17], "cycles": [13, 12, 14], "interval": [5, 5, 5]}
    manifest: dict[str, Any] = {
        "board": {"name": "pynq-z2", "title": "", "kind": "fpga"},
        "estimate": {"predictions": {"hls": figures, "synthesis": {"lut": [1000, 900, 1200]}}},
        "plan": [
            {"node": "/fc", "op": "dense", "choice": "", "layer": "n_dense", "hls": {"lut": 1800, "dsp": 17}},
            {"node": "/fc2", "op": "dense", "choice": "", "layer": "n_dense_1", "hls": {"lut": 90}},
            {"node": "", "op": "none", "choice": ""},
        ],
    }
    facts = {"project": "net", "tool": "vitis", "layers": {name: number for number, name in LAYERS.items()}}
    files = {"README.md": b"", "interface.json": json.dumps(facts).encode()}
    return Artifact(files, "README.md").with_manifest({**manifest, **changes}).write(folder)


def put(folder: Path, path: str, text: str) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)


def test_prediction_beside_result(tmp_path: Path) -> None:
    folder = output(tmp_path / "out")
    put(folder, "net_prj/solution1/syn/report/net_csynth.rpt", VIVADO_HLS)
    put(folder, "net_prj/solution1/sim/report/net_cosim.rpt", COSIM.format(s="Pass", **dict.fromkeys("bten", "")))
    plain = {"family": "Slice", "star": "", "dash": "", "head": "", "cell": ""}
    put(folder, "vivado_synth.rpt", UTILIZATION.format(**plain))
    put(folder, "reports/impl_utilization_hierarchical.rpt", HIERARCHY.format(u="", h="", v=""))
    put(folder, "reports/impl_timing.rpt", TIMING.format(slack="-0.125"))
    found = report_folder(folder)
    assert list(found.files) == ["hls", "cosim", "synthesis", "implementation"]
    rows = {(figure.stage, figure.name): figure for figure in found.figures}
    assert rows["hls", "lut"].actual == 2111 and rows["hls", "lut"].error == pytest.approx((2000 - 2111) / 2111)
    assert rows["cosim", "cycles"].actual == 15 and rows["synthesis", "lut"].actual == 1234
    assert rows["implementation", "lut"].actual == 1210 and rows["implementation", "lut"].high == 1200
    (layer,) = found.layers
    assert (layer.layer, layer.node) == ("n_dense", "/fc")
    assert {f.name: (f.predicted, f.actual) for f in layer.figures} == {"lut": (1800, 2000), "dsp": (17, 17)}
    assert found.unlisted == ("n_dense_1",) and found.slack_ns == -0.125
    lines = printed(found)
    assert "-5.3 %" in lines and "timing is NOT met" in lines and "1,800 / 2,000" in lines


def printed(found: Report) -> str:
    import io

    from rich.console import Console

    console = Console(file=io.StringIO(), width=200)
    for part in report_tables(found):
        console.print(part)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    return text


def test_without_reports_the_command_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no reports") as caught:
        report_folder(output(tmp_path / "out"))
    assert "vitis-run" in str(caught.value.hint) and "vivado_synth.tcl" in str(caught.value.hint)


def test_an_unfinished_report(tmp_path: Path) -> None:
    folder = output(tmp_path / "out")
    put(folder, "vivado_synth.rpt", "started\n")
    with pytest.raises(OutputError, match="not the report"):
        report_folder(folder)


def test_firmware_has_no_reports(tmp_path: Path) -> None:
    folder = output(tmp_path / "out", board={"name": "b", "title": "", "kind": "mcu"})
    with pytest.raises(UsageError, match="firmware"):
        report_folder(folder)


def test_an_older_manifest(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no predictions"):
        report_folder(output(tmp_path / "out", estimate={"total": {}}))
