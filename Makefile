# make run: the sweep of config.yaml.  make test: every check.  Both install what they need into .venv.
PYTHON ?= python3
CORES ?= 4
CONFIG ?= config.yaml
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)

.PHONY: run test lint clean-env

run: .venv/run-installed
	snakemake --cores $(CORES) $(if $(filter-out config.yaml,$(CONFIG)),--configfile $(CONFIG))

test: lint
	pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/dev-installed
	ruff check .
	ruff format --check .
	mypy scripts
	snakefmt --check Snakefile
	snakemake --lint

.venv/run-installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info < (3, 11) and sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .venv
	pip install --quiet --requirement requirements.txt
	touch $@

.venv/dev-installed: requirements-dev.txt .venv/run-installed
	pip install --quiet --requirement requirements-dev.txt
	touch $@

clean-env:
	rm -rf .venv
