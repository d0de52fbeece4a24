# make run: the sweep of config.yaml.  make test: every check.  make docs: what the pages show.
# They install what they need into .venv.
# Each command is named by its path: the make of macOS (3.81) looks for the others in the PATH it was called with.
PYTHON ?= python3
CORES ?= 4
CONFIG ?= config.yaml
# TORCH=cpu takes PyTorch's own builds without CUDA; uv knows where they are, and which others there are.
TORCH ?=
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

# Snakemake needs a home that it can write to, which containers may lack.
ifeq ($(shell test -n "$$HOME" -a -w "$$HOME" && echo yes),)
export HOME := $(CURDIR)/.snakemake/home
$(shell mkdir -p .snakemake/home)
endif

ifeq ($(OS),Windows_NT)
$(error this needs Linux or macOS; on Windows, use WSL: https://learn.microsoft.com/windows/wsl/install)
endif

# An environment names its folder in its scripts: where the project was moved or copied, it is made again.
MOVED := $(shell made=`sed -n 's/^command = .* -m venv \(--clear \)*//p' .venv/pyvenv.cfg 2>/dev/null`; \
	[ -z "$$made" ] || [ "$$made" -ef .venv ] || echo moved)

.PHONY: run test lint docs clean-env again

run: .venv/run-installed
	$(BIN)/snakemake --cores $(CORES) $(if $(filter-out config.yaml,$(CONFIG)),--configfile "$(CONFIG)")

# Three at once also on two cores: what waits for SLURM or for a kill computes nothing meanwhile.
test: lint
	$(BIN)/pytest -n 3 --durations=60 --dist loadfile --no-loadscope-reorder

# The outputs and pictures that the pages of docs/ show.
docs: .venv/dev-installed
	$(BIN)/python tests/pages.py
	$(BIN)/python tests/translations.py

lint: .venv/dev-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy scripts
	PYTHONPATH=scripts $(BIN)/lint-imports --no-logo
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

.venv/run-installed: requirements.txt $(if $(MOVED)$(filter-out $(shell cat .venv/torch 2>/dev/null),$(TORCH)),again)
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
ifeq ($(TORCH),)
	@echo "Installing into .venv, once. On Linux, 3.2 GB are downloaded (five minutes at 100 Mbit/s) and take 6.4 GB on disk."
	@echo "More than 4 GB of them serve NVIDIA GPUs alone: make run TORCH=cpu goes without."
	$(PYTHON) -m venv $(if $(MOVED),--clear) .venv
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
else
	@echo "Installing into .venv, once, with the PyTorch builds that uv calls $(TORCH)."
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend $(TORCH) --requirement requirements.txt
	echo $(TORCH) >.venv/torch
endif
	touch $@

.venv/dev-installed: requirements-dev.txt requirements-slurm.txt requirements-search.txt requirements-examples.txt requirements-export.txt .venv/run-installed
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@

clean-env:
	rm -rf .venv
