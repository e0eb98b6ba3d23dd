# Everything runs in .venv, which the first target makes; no activation is needed.
#   make repro   the pipeline: data, training, evaluation, pictures, one MLflow run
#   make test    linters, types and all fast tests
#   make ui      the MLflow UI on this machine
#   make bench   speed, against the bare loop, in six minutes; make bench-all measures the rest too
#   make setup TORCH_INDEX=ADDRESS   torch from another index, such as PyTorch's own for CPU only

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 5000

# Stages and DVC find the environment's commands first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONUNBUFFERED := 1
# DVC asks for the name of the user; a user id without one gets its number.
export LOGNAME ?= $(shell id -un 2>/dev/null)

# One thread a worker. A file's tests stay on one worker; conftest.py orders the files. -rs prints
# why a test was skipped. Slow tests wait for processes, so that three workers keep two cores busy.
PYTEST := OMP_NUM_THREADS=1 pytest -q -rs --dist loadfile --no-loadscope-reorder

.PHONY: setup setup-dev repro test test-all lint style types fast-tests all-tests ui bench bench-all lock
.PHONY: clean-env moved

setup: $(VENV)/.ready

# What linters and tests need besides.
setup-dev: $(VENV)/.dev-ready

# pip writes the environment's path into its commands: one that was moved is made again.
MOVED := $(shell [ -s $(VENV)/.ready ] && [ "$$(cat $(VENV)/.ready)" != "$$(CDPATH= cd $(VENV) && pwd -P)" ] \
	&& echo moved)

# Rebuilt when its inputs or setup.sh change. A failed attempt leaves no stamp.
$(VENV)/.ready: $(MOVED) requirements.lock pyproject.toml tools/setup.sh
	@PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" sh tools/setup.sh "$(VENV)"

$(VENV)/.dev-ready: $(VENV)/.ready requirements-dev.lock
	@sh tools/setup.sh "$(VENV)" dev

repro: setup
	@dvc repro
	@rhobeta sync
	@rhobeta summary

# Types are checked while the tests run.
test: style
	@$(MAKE) --no-print-directory --jobs=2 types fast-tests

test-all: style
	@$(MAKE) --no-print-directory --jobs=2 types all-tests

fast-tests: setup-dev
	@$(PYTEST) -n 2 -m "not slow" tests

all-tests: setup-dev
	@$(PYTEST) -n 3 tests

lint: style types

style: setup-dev
	@ruff check src tests benchmarks experiments
	@ruff format --check --quiet src tests benchmarks experiments || \
		{ echo "some files are not formatted: run .venv/bin/ruff format src tests benchmarks experiments"; exit 1; }

types: setup-dev
	@mypy

ui: setup
	@rhobeta ui --port $(PORT)

bench: setup
	@python -m benchmarks

bench-all: setup
	@python -m benchmarks all

lock:
	@sh tools/lock.sh
