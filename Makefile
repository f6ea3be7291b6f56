# Words: train, test, test-fast, test-processors, test-slow, check, bench, docs. Everything runs in .venv, which is made on first use.
# Every install passes the constraints: without them another package may replace torch by a build of several GB.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: train test test-fast test-processors test-slow check bench docs clean
.DELETE_ON_ERROR:

train: $(VENV)/.installed ## prepare the built-in corpus and train the quickstart
	$(BIN)/gpt-lightning fit --config configs/quickstart.yaml

# Bytecode is kept even where PYTHONDONTWRITEBYTECODE is set: the tests start dozens of interpreters.
# Each process has half of the files, and takes over half of what the other still has when it is through.
test: $(VENV)/.developing ## the default suite: offline, a few minutes
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --dist worksteal

test-fast: $(VENV)/.developing ## no processes, no Trainer: at most a minute
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m tests.selections fast

# One set alone: .venv/bin/python -m tests.selections processors sse41
test-processors: $(VENV)/.developing ## the numerical tests under every set of instructions that can be forced here
	$(BIN)/python -m tests.selections processors

test-slow: $(VENV)/.slow-ready ## the suite's minutes-long half
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -m slow --timeout 1800

check: $(VENV)/.developing ## format, lint, types, import contracts, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

bench: $(VENV)/.developing ## print measurements (asserts nothing about time)
	$(BIN)/python -m pytest -m bench -s --timeout 3600

docs: $(VENV)/.documenting ## the site in build/docs, strictly: a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/bin/python:
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'gpt_lightning needs Python 3.11 or newer; try make PYTHON=python3.11')"
	$(PYTHON) -m venv $(VENV)

# torch first and alone, so that no other package's wish can choose its build.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) torch
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.developing: $(VENV)/.installed
	$(INSTALL) --editable '.[dev]'
	@touch $@

$(VENV)/.slow-ready: $(VENV)/.developing
	$(INSTALL) --editable '.[dev,slow]'
	@touch $@

$(VENV)/.documenting: $(VENV)/.installed
	$(INSTALL) --editable '.[docs]'
	@touch $@

clean: ## remove the environment and everything generated (runs stay)
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
