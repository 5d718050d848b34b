# demo   set up, then run examples/demo.yaml on a fleet on this machine
# test   set up, then run the whole test suite
# check  lint and types only
# bench  compare speed and checkpoints with SB3 and SBX, write docs/benchmarks.md: most of an hour on an idle machine
# prove  run the rows of proof at full size, for hours; ROW=7 or ROW=3-kills for some. docs/reliability.md is made of it
# mutants  break one line of the code at a time, and print which test notices
# clean  remove what set-up and runs made here

PYTHON ?= python3
# PyTorch's own CPU builds; PyPI's for Linux are CUDA builds of several GB.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# More than two cores, because a test of a fleet mostly waits.
TEST_PROCESSES ?= 3
BIN = .venv/bin

.PHONY: demo test check bench prove mutants set-up clean

demo: set-up
	$(BIN)/tranquility local run examples/demo.yaml --instances 2 --evict

test: check
	$(BIN)/python -m pytest -n $(TEST_PROCESSES)

check: set-up
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

prove: set-up
	$(BIN)/python -m tests.proof.prove $(ROW)

bench: set-up
	@$(PYTHON) scripts/set_up.py --torch-index "$(TORCH_INDEX)" --also bench
	$(BIN)/python -m tests.bench

mutants: set-up
	$(BIN)/python -m tests.proof.mutants

set-up:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here. Python 3.11, 3.12 or 3.13 is needed; name it by make PYTHON=…" >&2; exit 1; }
	@$(PYTHON) scripts/set_up.py --torch-index "$(TORCH_INDEX)"

clean:
	rm -rf .venv .scanner .tranquility runs .mypy_cache .ruff_cache .pytest_cache build *.egg-info
