# Everything happens in .venv inside this checkout. `make help` lists the targets.
PYTHON ?= python3
# On Linux the plain package index serves torch's CUDA build (several GB). For the CPU build (200 MB):
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Containers often forbid bytecode, and then each of the hundred processes that tests start compiles all modules anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test check bench setup clean
.DEFAULT_GOAL := help

help: ## show this
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1	/' | expand -t 16

demo: $(READY) ## build a dataset from real videos, train two toy models for seconds, predict, and write a report to open
	$(BIN)/facevid demo --out demo

test: $(READY) ## run all tests on all cores, four at most (under 10 minutes on 2)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses=auto --maxprocesses=4 --dist=worksteal

check: $(READY) ## ruff, mypy strict, and the import rules
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## the whole line on the videos in FACEVID_VIDEOS, beside the numbers it must reach
	$(BIN)/python -m benchmarks.line

setup: $(READY) ## only make .venv

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "FaceVid needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "This Python has no venv. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV): about 2 minutes and 2.5 GB with the CPU build of torch"
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --index-url $(TORCH_INDEX) -c constraints.txt torch)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $(READY)

clean: ## remove .venv and the demo's output
	rm -rf $(VENV) demo
