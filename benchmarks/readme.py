"""`make readme`: the tables of README.md and of pages under docs/, from boards and committed results of benchmarks.

Each table stands between `<!-- table: NAME -->` and `<!-- end -->`; a test compares them with what this module makes,
so that no figure there is older than the results beside it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from boardfit.board import FpgaBoard, McuBoard, shipped_boards
from boardfit.plan.fpga import UNROLL_LIMIT

from .corpus import ROOT
from .estimator import pages
from .results import markdown, results

README = ROOT / "README.md"
PAGES = (README, *(ROOT / "docs" / name for name in ("compression.md", "estimates.md", "fpga-planning.md")))
"""Files with marked tables."""

MARK = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
TINY = {"ad01": "AD", "ic01": "IC", "kws01": "KWS", "vww01": "VWW"}
CORES = {
    "m4": "Cortex-M4",
    "m7": "Cortex-M7",
    "m33": "Cortex-M33",
    "m55": "Cortex-M55",
    "m0": "Cortex-M0+",
    "rv32": "RV32IMC",
}


def boards() -> str:
    """Every board that comes with boardfit."""
    rows = []
    for board in shipped_boards():
        if isinstance(board, FpgaBoard):
            have = f"{board.budget.lut:,} LUT, {board.budget.dsp:,} DSP, {board.budget.bram18:,} BRAM18"
            rows.append([f"`{board.name}`", "FPGA", board.part, f"{board.clock_mhz:g} MHz", have])
        elif isinstance(board, McuBoard):
            have = f"{board.budget.flash // 1024:,} KB flash, {board.budget.ram // 1024:,} KB RAM"
            rows.append([f"`{board.name}`", "MCU", board.core, f"{board.clock_mhz:g} MHz", have])
    return markdown(["board", "kind", "part or core", "clock", "budget"], rows)


def mcu() -> str:
    """Instructions, code and RAM on the Cortex-M4 beside the best other tools, then the other cores."""
    from .mcu.peers import PEERS

    found = {(row["model"], row["core"]): row for row in results("mcu")}
    rows: list[list[str]] = []
    for model, short in TINY.items():
        ours = found.get((model, "m4"))
        if ours is None:
            continue
        rows.append([short, "**boardfit**", *_numbers(ours), "all" if ours["bytes_equal"] else "no"])
        rows += [[short, peer.tool, *_numbers(asdict(peer)), ""] for peer in PEERS.get((model, "m4"), ())]
    head = ["model", "tool", "instructions", "code bytes", "RAM bytes", "bytes equal to the interpreter"]
    return markdown(head, rows)


def cores() -> str:
    """Instructions of one inference on every emulated core."""
    from .mcu.peers import PEERS

    found = {(row["model"], row["core"]): row for row in results("mcu")}
    rows = []
    for core, name in CORES.items():
        line = [found.get((model, core)) for model in TINY]
        if any(line):
            equal = all(row["bytes_equal"] for row in line if row)
            shown = [f"{row['instructions']:,}" if row else "" for row in line]
            rows.append([name, "**boardfit**", *shown, "all" if equal else "no"])
            peers = [PEERS.get((model, core), ()) for model in TINY]
            if any(peers):
                best = [f"{min(peer.instructions for peer in tools):,}" if tools else "" for tools in peers]
                rows.append([name, "best other tool", *best, ""])
    return markdown(["core", "tool", *TINY.values(), "bytes equal"], rows)


def _numbers(row: Mapping[str, Any]) -> list[str]:
    keys = ("instructions", "code_bytes", "ram_bytes")
    return [f"{row[key]:,}" if isinstance(row.get(key), int) else "" for key in keys]


def foundation() -> str:
    """One row for each model on a board: what was compared, and what was estimated beside what was built."""
    measured = results("foundation")
    pairs = dict.fromkeys((row["model"], row["board"]) for row in measured if row["board"])
    rows = []
    for model, board in pairs:
        of_model = {
            row["check"]: row["value"] for row in measured if row["model"] == model and row["board"] in ("", board)
        }
        if "arena, ELF" not in of_model and "top-1 agreement" not in " ".join(of_model):
            continue
        rows.append([model, f"`{board}`", _equal(of_model), *_accuracies(of_model), *_built(of_model)])
    head = ["model", "board", "values equal", "accuracy, given", "accuracy, compiled", "top-1 as float"]
    return markdown([*head, "arena, estimate / ELF", "flash, estimate / ELF"], rows)


def _equal(of_model: Mapping[str, Any]) -> str:
    checks = {check: value for check, value in of_model.items() if check.startswith("bytes equal")}
    names = {"qemu": "QEMU", "host": "host", "csim": "C simulation", "axi": "AXI wrapper"}
    where = [names[check.split(", ")[1]] for check in checks]
    return ", ".join(where) if all(checks.values()) else "NO"


def _accuracies(of_model: Mapping[str, Any]) -> list[str]:
    def percent(*beginnings: str) -> str:
        found = [value for check, value in of_model.items() if check.startswith(beginnings)]
        return f"{found[0]:.2f} %" if found else ""

    compiled = percent("accuracy, int8", "accuracy, fixed point")
    return [percent("accuracy, float", "accuracy, onnxruntime"), compiled, percent("top-1 agreement")]


def _built(of_model: Mapping[str, Any]) -> list[str]:
    kinds = [(of_model.get(f"{what}, estimate"), of_model.get(f"{what}, ELF")) for what in ("arena", "flash")]
    return ["" if built is None else f"{estimate:,} / {built:,}" for estimate, built in kinds]


def imports() -> str:
    """The largest difference of the float interpreter from onnxruntime, and how equal logits of int8 files are."""
    measured = results("foundation")
    differences = {row["model"]: row["value"] for row in measured if row["check"].startswith("float interpreter")}
    rows = []
    if differences:
        worst = max(differences, key=lambda model: float(differences[model]))
        what = f"float interpreter, {len(differences)} models"
        rows.append([what, f"at most {differences[worst]:.1e} of the output's range ({worst})"])
    for row in measured:
        if row["check"].startswith("logits"):
            rows.append([f"{row['model']}, integer {row['check']}", f"{row['value']:.2f} %"])
    return markdown(["compared with onnxruntime", "result"], rows)


def compression() -> str:
    """LeNets: bytes of the executed image, error, instructions; every seed."""
    rows = []
    for row in results("compression"):
        if row["case"] not in ("lenet300", "lenet5"):
            continue
        rows.append(
            [
                {"lenet300": "LeNet-300-100", "lenet5": "LeNet-5"}[row["case"]],
                str(row["seed"]),
                f"{row['bytes']:,}",
                f"{row['ratio']:.0f}x",
                f"{row['error_percent']:.2f} % ({row['base_error_percent']:.2f} %)",
                f"{row['decoder_bytes']:,}",
                f"{row['instructions']:,} ({row['dense_instructions']:,})",
                "all" if row["bytes_equal"] else "no",
            ]
        )
    head = ["network", "seed", "image bytes", "ratio", "error (dense)", "code bytes", "instructions (dense int8)"]
    return markdown([*head, "bytes equal"], rows)


FAMILIES = {
    ("lowrank", "ic01, 1.5x"): ("ic01", "low rank: depthwise, separable, SVD"),
    ("structured", "circulant 8"): ("LeNet-300-100", "block-circulant, blocks of 8"),
    ("structured", "toeplitz-like"): ("LeNet-300-100", "Toeplitz-like"),
    ("binary", "mlp, loss-aware"): ("MNIST 784-512-512-10", "binary, loss-aware"),
    ("binary", "mlp, ternary, loss-aware"): ("MNIST 784-512-512-10", "ternary, loss-aware"),
    ("binary", "cnn, loss-aware"): ("CIFAR-10 CNN, 32 KB", "binary, loss-aware"),
    ("transferred", "CReLU"): ("CIFAR-10 CNN, 37 KB", "CReLU: half the filters and their negations"),
    ("transferred", "TCNN, stored once"): ("CIFAR-10 CNN, 37 KB", "TCNN: half the filters and mirror images of them"),
    ("student", "kws01: half of the instructions: 40 channels, the other 300"): ("kws01", "student, 40 of 64 channels"),
}
"""(case, recipe) of the results -> network and form; transferred filters are judged by a network trained as long."""


def families() -> str:
    """The other families: what a form takes and loses, one row for all seeds."""
    measured = results("compression")
    control = {r["seed"]: r["error_percent"] for r in measured if r["recipe"] == "dense, trained as long"}
    rows = []
    for (case, recipe), (network, form) in FAMILIES.items():
        found = [row for row in measured if (row["case"], row["recipe"]) == (case, recipe)]
        row = found[0]
        lost = [
            r["error_percent"] - (control[r["seed"]] if case == "transferred" else r["base_error_percent"])
            for r in found
        ]
        sizes = [row.get(key, row.get(flash)) for key, flash in (("bytes", "flash"), ("dense_bytes", "dense_flash"))]
        rows.append(
            [
                network,
                form,
                f"{sizes[0]:,} ({sizes[1]:,})",
                f"{_range([r['instructions'] for r in found])} ({row['dense_instructions']:,})",
                f"{sum(lost) / len(lost):+.2f} ({', '.join(f'{points:+.2f}' for points in lost)})",
                "all" if all(r["bytes_equal"] for r in found) else "no",
            ]
        )
    head = ["network", "form", "bytes (dense int8)", "instructions (dense int8)", "points of error, each seed"]
    return markdown([*head, "bytes equal"], rows)


def _range(values: list[int]) -> str:
    """The least and the most, or the one value there is."""
    return " to ".join(f"{value:,}" for value in sorted({min(values), max(values)}))


def methods() -> str:
    """HashedNets, fixed-point training and hints on LeNet-300-100."""
    rows = [
        [row["recipe"], f"{row['parameters']:,}", f"{row['error_percent']:.2f} %"]
        for row in results("compression")
        if row["case"] == "methods"
    ]
    return markdown(["LeNet-300-100", "parameters", "error"], rows)


def autoencoder() -> str:
    """ad01 pruned and distilled: the reconstruction loss and how much of what pruning cost is gone; every seed."""
    rows = [
        [
            str(row["seed"]),
            *(f"{row[key]:.2f}" for key in ("loss", "pruned_loss", "distilled_loss")),
            f"{row['recovered']:.1%}",
        ]
        for row in results("compression")
        if row["case"] == "ad01"
    ]
    return markdown(["ad01, seed", "dense loss", "a fifth of the weights", "distilled", "recovered"], rows)


def codebook() -> str:
    """What dense layers with few weight values cost on an FPGA, with and without sums of inputs."""
    found = {(row["values"], row["asked"]): row for row in results("codebook")}
    rows = [
        [str(values), *(f"{found[values, asked]['dsp']:,}, {found[values, asked]['lut']:,}" for asked in ASKED)]
        for values in dict.fromkeys(values for values, _ in found)
    ]
    return markdown(
        ["distinct weights of a layer", "one product for each weight: DSP, LUT", "codebook: DSP, LUT"], rows
    )


ASKED = ("latency", "codebook")


def fpga() -> str:
    """What is planned for two small FPGA boards, or why nothing is."""
    rows = []
    for row in results("fpga"):
        if "error" in row:
            needs = "; ".join(line.strip() for line in row["error"].split("\n") if " needs " in line)
            hint = row["error"].partition("hint: ")[2]
            cells = [f"does not fit: {needs} ({hint})", "", "", "", "", "", ""]
        else:
            used = [
                f"{row[name]:,} ({row[name] / row[f'{name}_budget']:.0%})" for name in ("lut", "ff", "bram18", "dsp")
            ]
            asked = row["snr_db"] if row["asked"].endswith("dB") else row["agreement"]
            held = f"{asked:g} ({row['asked'].removeprefix('agreement of ')})"
            cells = [*used, f"{row['latency_cycles']:,}", held, "all" if row["bytes_equal"] else "no"]
        rows.append([row["model"], row["board"], *cells, f"{row['planning_cpu_seconds']:.0f} s"])
    head = ["model", "board", "LUT", "FF", "BRAM18", "DSP", "cycles", "measured (asked)", "bytes equal", "planning"]
    return markdown(head, rows)


def fpga_default() -> str:
    """The fastest plan without limits, with the widths for either board, beside hls4ml's default; same estimator."""
    rows = []
    plans = [row for row in results("fpga") if "error" not in row]
    for model in dict.fromkeys(row["model"] for row in plans):
        made = [row for row in plans if row["model"] == model]  # widths were chosen for two boards
        row = min(made, key=lambda row: (row["unlimited_latency"], row["unlimited_dsp"]))
        pairs = [(row[f"unlimited_{name}"], row[f"default_{name}"]) for name in ("dsp", "lut", "latency")]
        agreement = row["default_agreement"]
        rows.append(
            [
                row["model"] + ("" if row["default_products"] < UNROLL_LIMIT else " (default cannot be built)"),
                *(f"{ours:,} / {theirs:,}" for ours, theirs in pairs),
                "no classes" if row["asked"].endswith("dB") else f"{row['agreement']:g} / {agreement:g}",
            ]
        )
    head = [
        "model",
        "DSP, ours / default",
        "LUT, ours / default",
        "cycles, ours / default",
        "agreement, ours / default",
    ]
    return markdown(head, rows)


TABLES: dict[str, Callable[[], str]] = {
    "boards": boards,
    "mcu": mcu,
    "cores": cores,
    "foundation": foundation,
    "imports": imports,
    "compression": compression,
    "families": families,
    "methods": methods,
    "autoencoder": autoencoder,
    "codebook": codebook,
    "estimator": pages.overview,
    "estimates_synthesis": pages.synthesis,
    "estimates_hls": pages.reports,
    "estimates_layers": pages.layers,
    "fpga": fpga,
    "fpga_default": fpga_default,
}


def refreshed(text: str) -> str:
    """`text` with every marked table made anew."""
    return MARK.sub(lambda match: match[1] + TABLES[match[2]]() + match[4], text)


def main() -> None:
    """Rewrite the pages; `--check` only says whether they are up to date."""
    old = [page.name for page in PAGES if page.read_text() != refreshed(page.read_text())]
    if "--check" in sys.argv[1:]:
        raise SystemExit(f"{', '.join(old)}: old tables, run make readme" if old else 0)
    for page in PAGES:
        page.write_text(refreshed(page.read_text()))


if __name__ == "__main__":
    main()
