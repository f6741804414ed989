PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: discovery test lint

# Installs, then runs the main job: make discovery ARGS="env=sphere seed=1"
discovery: $(VENV)/.installed
	$(BIN)/python train.py model=discovery $(ARGS)

# Installs, then checks and tests everything: make test ARGS="-m 'not slow'"
test: lint
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch first: with it in place, nothing below pulls another build of it.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[dev]"
	touch $@
