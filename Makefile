# Everything a developer does. Every target sets itself up: .venv in this checkout, and the cross compiler and the
# emulator from the system's packages where they are missing.
#
#   make demo     compile the digits network for two boards, run both, verify every byte, show the table
#   make test     all tests
#   make fast     the tests without emulator, C simulation and corpus
#   make check    types, lint, format, fast tests
#   make format   repair format and what ruff can repair
#   make readme   the tables of README.md, from the boards and the results
#   make bench    all benchmarks (make bench-foundation: one of them); results in benchmarks/results/
#
#   make PYTHON=python3.12 ...   another interpreter for .venv (3.10 to 3.13)

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
WORKERS ?= 2

.DEFAULT_GOAL := test
.PHONY: readme typings-tree demo test fast check format bench bench-foundation bench-compression bench-estimator bench-mcu bench-fpga tools clean

$(READY): pyproject.toml .ci/set-up
	@PYTHON="$(PYTHON)" bash .ci/set-up python $(VENV)
	@touch $@

tools:
	@bash .ci/set-up tools

demo: $(READY) tools
	$(BIN)/python -m benchmarks.demo

test: $(READY) tools
	$(BIN)/python -m pytest -n $(WORKERS) --durations 20

fast: $(READY)
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

check: $(READY) typings-tree
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p boardfit
	$(BIN)/mypy tests benchmarks examples
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow"

# The installed package as one tree of links, which type checkers can follow: boardfit.backends is not in compiler/.
typings-tree:
	@rm -rf .typings && mkdir -p .typings/boardfit
	@ln -s $(CURDIR)/compiler/[!_]* $(CURDIR)/compiler/__init__.py .typings/boardfit/
	@ln -s $(CURDIR)/backends $(CURDIR)/templates $(CURDIR)/boards .typings/boardfit/

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-foundation bench-mcu bench-fpga bench-estimator bench-compression

bench-foundation: $(READY) tools
	$(BIN)/python -m benchmarks.foundation

bench-fpga: $(READY) tools
	$(BIN)/python -m benchmarks.fpga

bench-estimator: $(READY)
	@bash .ci/set-up tools yosys
	$(BIN)/python -m benchmarks.estimator
	$(BIN)/python -m benchmarks.estimator.distributed
	$(BIN)/python -m benchmarks.estimate_time

bench-compression: $(READY) tools
	$(BIN)/python -m benchmarks.compression

bench-mcu: $(READY) tools
	$(BIN)/python -m benchmarks.mcu
	$(BIN)/python -m benchmarks.mcu.variants
	$(BIN)/python -m benchmarks.mcu.weight_bytes
	$(BIN)/python -m benchmarks.mcu.cycles

clean:
	rm -rf $(VENV) .typings build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

readme: $(READY)
	$(BIN)/python -m benchmarks.readme
