PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: help discovery test coverage lint mutate learned

# The first target, so that a bare "make" changes nothing.
help:
	@echo 'make discovery  installs, then runs the main job: make discovery ARGS="env=sphere seed=1"'
	@echo 'make test       installs, then checks and tests everything; with ARGS, those tests alone'
	@echo 'make coverage   the same, with the share of lines that ran, in half as much time again'
	@echo 'make lint       installs, then runs ruff and mypy'
	@echo 'make learned    installs, then evolves learners of bandits for a moment: what python benchmarks/bandits.py does in full'
	@echo 'make mutate     mutation testing of the mathematics: make mutate ARGS="--sample 100 --seed 0"'

discovery: $(VENV)/.installed
	$(BIN)/python train.py model=discovery $(ARGS)

# A process a core, of one thread each: small tensors gain nothing from threads.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

coverage:
	$(MAKE) test ARGS="--cov $(ARGS)"

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

learned: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bandits.py --smoke --seeds 1 --models symla metarnn --folder runs/learned --out runs/learned/bandits.json $(ARGS)

mutate: $(VENV)/.installed
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev,mutate]"
	$(BIN)/python benchmarks/mutate.py $(ARGS)

# torch first: with it in place, nothing below pulls another build of it.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@
