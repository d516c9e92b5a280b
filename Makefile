# Everything a person or CI types. `make help` explains.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CONFIG ?=
SET    ?=
EXTRAS ?=
NAME   ?=
MODEL  ?=
DATA   ?=
PORT   ?= 4200
SLOW   ?= slow

.DEFAULT_GOAL := help
.NOTPARALLEL:  # two rules would install into one environment
unexport PYTHONDONTWRITEBYTECODE  # or each process would compile every library that it imports, for seconds
.PHONY: help install dev retrain plan up down tiny-base test test-slow bench proof lint format docs lock clean

help:  ## Explain what can be made
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo '  make retrain CONFIG=deployments/configs/qwen2.5-7b-instruct.yaml SET="train.lora.r=8 train.epochs=2"'

install: $(or $(EXTRAS:%=$(VENV)/.installed-%),$(VENV)/.installed)  ## Make .venv with the libraries that running needs; EXTRAS="s3 judge" adds to them

dev: $(VENV)/.installed-dev  ## Add what tests, benches and linters need

# A stamp for each set of libraries. --no-compile: Python compiles what is imported, a tenth of what is installed.
define install
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
  { echo "Reground needs Python 3.11 or newer; name one: make install PYTHON=python3.12"; exit 2; }
$(PYTHON) -m venv $(VENV)
$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.$(1)'
@touch $(VENV)/.installed $@
endef

$(VENV)/.installed: pyproject.toml constraints.txt
	$(call install,)

$(VENV)/.installed-%: pyproject.toml constraints.txt
	$(call install,[$*])

retrain: install  ## Run what is stale, on the sample data and the tiny base model unless CONFIG says otherwise
	@$(BIN)/reground retrain $(CONFIG) $(foreach setting,$(SET),--set '$(setting)')

plan: install  ## Say what retrain would run, and why
	@$(BIN)/reground plan $(CONFIG) $(foreach setting,$(SET),--set '$(setting)')

up: install  ## Start Reground as a service: Prefect server, deployments, workers; CONFIG, PORT, DATABASE, NOTIFY, PRODUCTION=1
	@$(BIN)/reground up $(CONFIG) --port $(PORT) $(if $(DATABASE),--database '$(DATABASE)') \
	  $(if $(NOTIFY),--notify '$(NOTIFY)') $(if $(PRODUCTION),--production)

down: install  ## End the service and what it runs; a training keeps its last checkpoint
	@$(BIN)/reground down

tiny-base: install  ## Train the tiny base model again, in data/tiny-base; resumes if stopped
	$(BIN)/python data/tiny_base/make.py --out data/tiny-base --work data/.tiny-base

test: dev  ## Run the tests, three files at a time
	$(BIN)/python -m pytest -m 'not slow' -n 3 --dist loadfile

test-slow: dev  ## Run the end-to-end tests: runs killed and resumed, the service with its UI, the report in a browser
	$(BIN)/python -m pytest -m '$(SLOW)' -n 4 --dist loadfile

bench: dev  ## Measure against peers: make bench NAME=noop; without NAME the list
	@MODEL='$(MODEL)' DATA='$(DATA)' $(BIN)/python -m tests.bench $(NAME)

proof: install  ## Make a real 135M model better on SQuAD 2.0, within an hour; MODEL=folder DATA=folder without a hub
	@MODEL='$(MODEL)' DATA='$(DATA)' $(BIN)/python -m tests.bench.proof

lint: dev  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: dev  ## Put the code into the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: dev  ## Write the commands of flows/README.md from `reground --help`
	@$(BIN)/python -m tests.commands flows/README.md

lock:  ## Write constraints.txt again, from the newest libraries in a fresh environment
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/pip install --quiet --disable-pip-version-check '.[dev,gcs]'
	( echo '# Every library at the version that the tests ran with; `make lock` writes this file.'; \
	  $(VENV)-lock/bin/pip freeze --disable-pip-version-check | grep -v '^reground' | sed 's/+[a-z0-9]*$$//' ) > constraints.txt
	rm -rf $(VENV)-lock build

clean:  ## Remove the virtual environment and caches; artifacts stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache *.egg-info
