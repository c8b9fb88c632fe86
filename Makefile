# odenet: `make` alone prints what there is to make.

.DEFAULT_GOAL := help
.PHONY: help demo test drills figures gpu lint benchmark clean
.NOTPARALLEL:

# The interpreter that .venv is made from; or, if it can import all that a target needs, the one that runs the target.
PYTHON ?= python3

# The two commands of the main job: run it on the digits that come with scikit-learn, then draw what it found.
demo = $(run-python) -m experiments.depth_refinement demo --jobs auto && \
       $(run-python) -m paper_figs.depth_refinement --record runs/depth_refinement/demo-digits.json

# Three environments: the extras of pyproject.toml that each installs, and what it must be able to import.
run-extras   := experiments,figures
run-imports  := odenet torch torchdiffeq torchvision sklearn lightning_fabric torchmetrics tyro rich safetensors matplotlib scipy
test-extras  := test
test-imports := $(run-imports) pytest xdist hypothesis
dev-extras   := dev
dev-imports  := $(test-imports) ruff pyright mypy

# Python's -P leaves the working directory out of the search: odenet counts only where it is installed or on PYTHONPATH.
# The .venv of this folder never counts as somebody's own: it is kept up to date here.
LACKS := import importlib.util, os, sys; \
         own = os.path.realpath(sys.prefix) == os.path.realpath(".venv"); \
         print(*(name for name in sys.argv[1:] if own or importlib.util.find_spec(name) is None))
lacks = $(shell $(PYTHON) -P -c '$(LACKS)' $($(1)-imports) 2>/dev/null || echo odenet)

# $(call interpreter,ENVIRONMENT): $(PYTHON) where it lacks nothing, else that of .venv.
interpreter   = $(call chosen,$(call lacks,$(1)))
chosen        = $(if $(1),$(call say-why,$(1)).venv/bin/python,$(PYTHON))
say-why       = $(if $(filter odenet,$(1)),,$(info $(PYTHON) has odenet but lacks $(1): taking .venv instead))
installed     = $(if $(filter .venv/%,$($(1)-python)),.venv/installed-$(1))

run-python  := $(call interpreter,run)
test-python := $(call interpreter,test)
dev-python  := $(call interpreter,dev)

help: ## print this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | awk -F '\t' '{printf "make %-10s %s\n", $$1, $$2}'
	@echo
	@echo "Each target first brings .venv up to date, from pyproject.toml and constraints.txt, with the machine's python3"
	@echo "(another one: make demo PYTHON=python3.12). An interpreter that has odenet and what the target needs serves as"
	@echo "it is, without .venv: that of the active environment (after pip install -e '.[test]'), one named by PYTHON=,"
	@echo "or, on a machine without a network, one that finds this folder: PYTHONPATH=. make gpu"

demo: $(call installed,run) ## what do more layers and smaller steps do? on real digits: a table, a figure, a record
	@$(demo)

test: $(call installed,test) ## all tests, on up to four cores; some of them: make test ARGS='-k solvers'
	$(test-python) -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

drills: $(call installed,test) ## half an hour of kills, damaged and hostile files, hard dynamics; a table of what they came to
	ODENET_DRILLS=1 $(test-python) -m pytest tests/drills -n auto --maxprocesses 4 --dist worksteal $(ARGS)

figures: $(call installed,run) ## redraw every figure from records/, without training
	$(run-python) -m paper_figs

# How long `make gpu` may take, and where it leaves what is to be brought home; ARGS='--plan' says what it would run.
MINUTES ?= 8
OUT     ?= runs/on_gpu/out

gpu: $(call installed,test) ## on a machine with a GPU: the most valuable tests, benchmarks and records in MINUTES=8, into OUT
	$(test-python) -m experiments.on_gpu --minutes $(MINUTES) --out "$(OUT)" $(ARGS)

lint: $(call installed,dev) ## ruff check, ruff format --check, pyright
	$(dev-python) -m ruff check
	$(dev-python) -m ruff format --check
	$(dev-python) -m pyright --pythonpath "$$($(dev-python) -c 'import sys; print(sys.executable)')"

benchmark: $(call installed,test) ## odenet beside hand-written loops and other packages: time, memory, orders, savings
	$(test-python) -m benchmarks

clean: ## remove .venv and caches; data/, runs/ and records/ stay
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/installed-%: pyproject.toml constraints.txt | .venv/created
	.venv/bin/python -m pip install -c constraints.txt -e '.[$($*-extras)]'
	@touch $@

# A stamp, not the interpreter in it: an interrupted `venv` leaves an interpreter without pip.
.venv/created:
	@$(PYTHON) -c '' || { echo "$(PYTHON) was to make .venv, but it cannot be run: install Python 3.11 or newer," \
	  "or name one, as in make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) was to make .venv, but it is" \
	  "$$($(PYTHON) --version 2>&1) and odenet needs 3.11 or newer: name another one, as in make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) was to make .venv, but it comes without the" \
	  "module venv or ensurepip: install it (Debian, Ubuntu: apt install python3-venv), or name another one," \
	  "as in make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@
