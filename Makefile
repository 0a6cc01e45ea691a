# Every target sets up what it needs: the first call makes .venv and installs, later calls find the stamp and go on.
# Pass through: DATA=folder of the collections, PROFILE=paper|cpu|smoke, OUT=run folder, ARGS=further options.
#   make reproduce-tabik DATA=~/radiographs PROFILE=cpu OUT=runs/tabik
# EXTRAS names what is installed; where nvidia-smi is there, TensorFlow comes with its CUDA libraries.

comma := ,
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
EXTRAS ?= dicom,cluster,dev$(if $(shell command -v nvidia-smi 2>/dev/null),$(comma)gpu)
RUN := $(BIN)/covid-keras reproduce
# Each worker takes a file at a time, those with slow tests first (tests/conftest.py), and imports TensorFlow once.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
OPTIONS = $(if $(DATA),--data "$(DATA)") $(if $(PROFILE),--profile "$(PROFILE)") $(if $(OUT),--out "$(OUT)") $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help install reproduce-tabik reproduce-haghanifar reproduce-arias reproduce-hertel reproduce-all head-to-head results claims audit segment-recipe test-fast test bench lint clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 20

install: $(STAMP) ## make .venv and install the suite with its development tools

$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	@touch $(STAMP)

reproduce-tabik: $(STAMP) ## COVID-SDNet (Tabik et al. 2020): the phantom where no data is found
	$(RUN) tabik $(OPTIONS)

reproduce-haghanifar: $(STAMP) ## COVID-CXNet (Haghanifar et al. 2020): the phantom where no data is found
	$(RUN) haghanifar $(OPTIONS)

reproduce-arias: $(STAMP) ## VGG19 + U-Net (Arias-Garzon et al. 2021): the phantom where no data is found
	$(RUN) arias $(OPTIONS)

reproduce-hertel: $(STAMP) ## ResUNet, three networks, two ensembles (Hertel & Benlamri 2022): the phantom where no data is found
	$(RUN) hertel $(OPTIONS)

reproduce-all: reproduce-tabik reproduce-haghanifar reproduce-arias reproduce-hertel ## every paper, one after the other, then the page of all
	$(BIN)/covid-keras results

head-to-head: $(STAMP) ## the methods of the four papers on the same patients: the phantom where no data is found
	$(RUN) head_to_head $(OPTIONS)

results: $(STAMP) ## all papers on one page, from the committed results: runs/results.html (or OUT) and papers/RESULTS.md
	$(BIN)/covid-keras results $(if $(OUT),--out "$(OUT)")

claims: $(STAMP) ## what the papers claim, tested on the committed results. All papers, or PAPER=tabik, or PAPER=RUN
	$(BIN)/covid-keras claims $(if $(PAPER),"$(PAPER)") $(ARGS)

audit: $(STAMP) ## are the printed numbers possible? All papers, or PAPER=tabik, or PAPER=FILE.yaml
	$(BIN)/covid-keras audit $(if $(PAPER),"$(PAPER)") $(ARGS)

segment-recipe: $(STAMP) ## train a shipped lung U-Net again (needs DATA; LUNGS=fields or whole)
	$(BIN)/covid-keras train-lungs $(if $(LUNGS),--lungs $(LUNGS)) $(if $(DATA),--data "$(DATA)") $(if $(OUT),--out "$(OUT)")

test-fast: $(STAMP) ## the quick tests alone, without whole trainings
	$(PYTEST) -m "not slow" $(ARGS)

test: $(STAMP) ## the test suite; real-data tests skip where COVID_KERAS_DATA is absent
	$(PYTEST) $(ARGS)

bench: $(STAMP) ## benchmarks: ratios against the obvious alternative, measured in the same run; writes BENCHMARKS.md
	@mkdir -p .benchmarks
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable --benchmark-only --benchmark-columns=median,iqr,rounds \
		--timeout 1800 --benchmark-json=.benchmarks/latest.json $(ARGS)
	$(BIN)/python -m tests.benchmarks.table .benchmarks/latest.json --note "$(NOTE)"

lint: $(STAMP) ## ruff, the floors (import-linter), types of the public packages (mypy)
	$(BIN)/ruff check covid_keras papers tests
	$(BIN)/ruff format --check --quiet covid_keras papers tests
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

clean: ## remove the virtual environment and caches, not the runs
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache *.egg-info
