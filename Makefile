# make demo      install, train on Fashion-MNIST with defaults, write the report
# make test      install with the dev extra, pass the tests
# make check     format, lint, types, import layers
# make reference train the original study's model for its 30 epochs (most of an hour on two cores)
# make reproduce every recipe under one equal budget, three seeds each (hours; may be stopped, and goes on)
# make pretrained train the space that comes with the package, map it and pack it (minutes)
# make bench     measure beside Keras, PyTorch and pythae (an hour on two cores)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
RUNS ?= runs

.DEFAULT_GOAL := help
.PHONY: help install dev demo test test-published check format reference pretrained reproduce bench bench-quick bench-tiny clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST) | expand -t 22

install: $(VENV)/.installed ## make .venv with the morphospace command in it

dev: $(VENV)/.installed-dev ## the same, with what the tests and checks need

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Morphospace needs Python 3.11 or newer; found " + sys.version.split()[0])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(VENV)/.installed $@

$(VENV)/.installed-bench: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable '.[bench]'
	@touch $(VENV)/.installed $@

demo: install ## train on Fashion-MNIST and write runs/fashion-mnist/report.html
	@$(BIN)/morphospace train fashion-mnist --out $(RUNS)/fashion-mnist --overwrite || \
	{ status=$$?; test $$status -eq 3 || exit $$status; \
	  echo; \
	  echo '**********************************************************************'; \
	  echo '*  Fashion-MNIST is not on this machine and cannot be downloaded.    *'; \
	  echo '*  THE DEMO GOES ON WITH `garments`, CLOTHES DRAWN BY THE PROJECT.   *'; \
	  echo '*  Its figures are not comparable with those of Fashion-MNIST.       *'; \
	  echo '**********************************************************************'; \
	  echo; \
	  $(BIN)/morphospace train garments --out $(RUNS)/garments --overwrite; }

reference: install ## train the original study's model for its 30 epochs
	$(BIN)/morphospace train fashion-mnist --recipe reference --out $(RUNS)/reference --overwrite

pretrained: install ## train the space that comes with the package anew, and pack it (docs/pretrained.md)
	$(BIN)/morphospace train fashion-mnist --epochs 30 --seed 0 --out $(RUNS)/pretrained --overwrite
	$(BIN)/morphospace map $(RUNS)/pretrained
	$(BIN)/morphospace pack $(RUNS)/pretrained --out src/morphospace/pretrained/fashion-mnist --overwrite

reproduce: dev ## train every recipe under one equal budget, and rewrite docs/scoreboard.md (hours; resumable)
	$(BIN)/python -m benchmarks.reproduce --seeds 3

bench: $(VENV)/.installed-bench ## measure beside Keras, PyTorch and pythae, and rewrite the tables (an hour)
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m benchmarks.table

bench-quick: $(VENV)/.installed-bench ## the same in ten minutes, printed and not kept
	$(BIN)/python -m benchmarks.run --plan quick

bench-tiny: $(VENV)/.installed-bench ## show that the measurements run (its figures mean nothing)
	$(BIN)/python -m benchmarks.run --plan tiny

test: dev ## pass the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile -m 'not published'

test-published: dev ## compare with published figures on the real data set (minutes)
	$(BIN)/python -m pytest -m published

check: dev ## format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: dev ## bring the code into the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the virtual environment and the caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
