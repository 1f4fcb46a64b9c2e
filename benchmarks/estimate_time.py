"""How long `boardfit estimate` takes: `python -m benchmarks.estimate_time` (in make bench-estimator).

Every model of the corpus, one board of each kind, a process of its own each time, with import of all libraries; the
smallest of some runs, because other programs may be using the machine; processor time (user) beside it. Rows {model,
board, seconds, cpu_seconds, limit_seconds, runs} go to benchmarks/results/estimate_time.json.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time

from . import corpus
from .results import Row, print_rows, write_rows

BOARDS = ("pynq-z2", "nucleo-l4r5zi")
LIMIT = 2.0
RUNS = 3


def times(model: str, board: str) -> tuple[float, float] | None:
    """(seconds, user seconds) of one estimate, or None where the model is refused."""
    command = [sys.executable, "-m", "boardfit.cli", "estimate", str(corpus.model_path(model)), "--board", board]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["OPENBLAS_NUM_THREADS"] = "1"  # its threads wait busily, and there is no large matrix product
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime, time.perf_counter()
    done = subprocess.run(command, capture_output=True, env=environment)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    return (seconds, used) if done.returncode == 0 else None


def main() -> int:
    """Print and write the rows, and say which estimates take longer than they should."""
    names = ["digits"]
    if corpus.available():
        names += [*corpus.HLS_EXAMPLES, *corpus.FLOAT_TINY]
    else:
        print(corpus.missing())
    rows: list[Row] = []
    for name in names:
        for board in BOARDS:
            runs = [found for _ in range(RUNS) if (found := times(name, board)) is not None]
            if runs:
                seconds, used = (round(min(column), 2) for column in zip(*runs, strict=True))
                row: Row = {"model": name, "board": board, "seconds": seconds, "cpu_seconds": used}
                rows.append({**row, "limit_seconds": LIMIT, "runs": len(runs)})
    print_rows("boardfit estimate", rows)
    print(f"rows written to {write_rows('estimate_time', rows)}")
    slow = [f"{row['model']} on {row['board']}" for row in rows if float(row["seconds"] or 0) > LIMIT]
    print(f"above {LIMIT:g} s: {', '.join(slow) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
