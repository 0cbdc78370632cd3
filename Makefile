# README.md gives the same without make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MADE := $(VENV)/.made

.PHONY: venv demo test check bench docs

venv: $(MADE)

# pip is looked for and not the folder: without Debian's python3-venv the first try leaves half of one behind.
$(MADE): requirements.txt setup.py pyproject.toml
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

demo: venv
	$(BIN)/python -m coalition.cli.demo

test: venv
	$(BIN)/python -m pytest

check: venv
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy coalition $(wildcard cloud/*.py)
	$(BIN)/mypy --platform win32 coalition
	$(BIN)/lint-imports

bench: venv
	$(BIN)/python -m bench

docs: venv
	$(BIN)/sphinx-build -E -W -n --keep-going -q -b html docs docs/_build
