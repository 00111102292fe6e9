# Two commands do all set-up: `make demo` runs a search on the bundled sample, `make test` the tests.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
KEY := $(shell cat pyproject.toml constraints.txt scripts/system-packages | sha256sum | cut -c1-16)
READY := $(VENV)/.ready-$(KEY)
SIMULATION := $(VENV)/.simulation-$(KEY)
WHEEL_VENV := .make/wheel-venv
REQUEST := Search for a new narrow dijet resonance in this sample
SAMPLE := src/bumpscout/samples/dijet_demo.h5
REPLAYS := 20

.PHONY: help setup demo test lint types pytest wheel-test clean

help:  ## show the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "make %-11s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## make the virtual environment and install what the system lacks

$(READY): pyproject.toml constraints.txt scripts/system-packages
	@scripts/system-packages
	@python=$$(scripts/find-python); \
	  test -x $(BIN)/python || { echo "setup: making $(VENV) with $$python"; "$$python" -m venv $(VENV); }
	@echo "setup: installing bumpscout and what it needs; the first time takes some minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[dev]'
	@rm -f $(VENV)/.ready-*
	@touch $@

$(SIMULATION): $(READY)
	@echo "setup: installing the simulation (Pythia 8, FastJet; GPL), which only its tests need"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[sim]'
	@rm -f $(VENV)/.simulation-*
	@touch $@

demo: $(READY)  ## search the bundled sample; ends with the bump and the path of the report
	@out=demo-run; \
	  if [ -e "$$out" ]; then out=demo-run-$$(date +%Y%m%d-%H%M%S); fi; \
	  $(BIN)/bumpscout search "$(REQUEST)" --data $(SAMPLE) --model offline --out "$$out" \
	    --replays $(REPLAYS)

test: lint types pytest  ## ruff, mypy --strict over all rooms, and every test

lint: $(READY)
	@$(BIN)/ruff check .

types: $(READY)
	@$(BIN)/mypy

pytest: $(SIMULATION)
	@scripts/run-tests $(BIN)/pytest

wheel-test: $(READY)  ## build the wheel, install it on its own, and try the program from there
	@rm -rf .make/dist $(WHEEL_VENV) && mkdir -p .make/dist
	@$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps \
	  --wheel-dir .make/dist .
	@$(BIN)/python -m venv $(WHEEL_VENV)
	@$(WHEEL_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt .make/dist/*.whl pyhf pytest pytest-timeout
	@scripts/run-tests $(WHEEL_VENV)/bin/pytest installed

clean:  ## remove the virtual environments and all that was made, but no run folder
	rm -rf $(VENV) .make .mypy_cache .pytest_cache .ruff_cache
