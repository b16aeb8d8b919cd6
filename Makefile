# One command for each job; `make` alone lists them. Override: make PYTHON=python3.12 VENV=/somewhere/venv test
PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=

BIN := $(VENV)/bin
REQUIREMENTS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo report check test test-slurm test-browser bench bench-gpu clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## create the virtual environment and install negprompt in it, at the tested versions

demo: install ## train zero-shot, CoOp and NegPrompt on the embedded benchmark and print one table (CPU, minutes)
	$(BIN)/negprompt train --multirun method=zero_shot,coop,negprompt_paper,negprompt seed=1,2,3
	$(BIN)/negprompt report runs=runs/icons output=runs/_report

report: install ## the page of every system on the embedded benchmark and its hard splits; runs what is not finished (CPU, an hour or two)
	$(BIN)/negprompt train --multirun sweep=compare trainer=cpu
	$(BIN)/negprompt report 'runs=[runs/icons,"runs/icons_hard_*"]' output=runs/_report title='Every system on icons and its hard splits'

check: $(VENV)/.installed-dev ## format, lint, types, import rules, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict src
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell

# A file's tests stay in one process, which makes its miniature data sets once; one thread each, or the cores are shared
# twice; one process more than cores, since tests of commands wait for them.
test: $(VENV)/.installed-test ## run the tests (CPU, no network); one file alone: make test PYTEST_ARGS=tests/data/test_tree.py
	PYTEST_XDIST_AUTO_NUM_WORKERS=$$($(BIN)/python -c 'import os; print(os.cpu_count() + 1)') OMP_NUM_THREADS=1 \
	    $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-slurm: $(VENV)/.installed-test ## run the tests on a real Slurm of this machine (minutes; Debian's slurmctld, slurmd, munge)
	@$(BIN)/python tests/slurm/cluster.py check
	NEGPROMPT_TEST_SLURM=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/slurm $(PYTEST_ARGS)

test-browser: $(VENV)/.installed-test ## run the tests of the report's page in a Chromium of this machine
	NEGPROMPT_TEST_BROWSER=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/reports/page -m browser $(PYTEST_ARGS)

BENCHMARKS := experiments/benchmarks
bench: install ## measure time and memory against the plain way, in tables (CPU, the better part of an hour; nothing else may run)
	$(BIN)/python $(BENCHMARKS)/text_step.py
	$(BIN)/python $(BENCHMARKS)/memory.py
	$(BIN)/python $(BENCHMARKS)/epoch.py
	$(BIN)/python $(BENCHMARKS)/sharding.py
	$(BIN)/python $(BENCHMARKS)/extraction.py
	$(BIN)/python $(BENCHMARKS)/prefix_attention.py
	$(BIN)/python $(BENCHMARKS)/scaling.py
	$(BIN)/python $(BENCHMARKS)/loading.py
	$(BIN)/python $(BENCHMARKS)/verifying.py
	$(BIN)/python $(BENCHMARKS)/listing.py
	$(BIN)/python $(BENCHMARKS)/start.py
	$(BIN)/python $(BENCHMARKS)/reporting.py
	$(BIN)/python $(BENCHMARKS)/exported.py
	$(BIN)/python $(BENCHMARKS)/ready.py
	$(BIN)/python $(BENCHMARKS)/predicting.py

bench-gpu: install ## the same on a CUDA device in bf16, and the time of a whole ImageNet-1k job
	$(BIN)/python $(BENCHMARKS)/text_step.py --device cuda --precision bf16
	$(BIN)/python $(BENCHMARKS)/memory.py --device cuda --precision bf16
	$(BIN)/python $(BENCHMARKS)/gpu_job.py --device cuda --precision bf16

clean: ## remove caches and built packages; leaves the virtual environment and runs/ alone
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist
	find src tests experiments -type d -name __pycache__ -prune -exec rm -rf {} +

# pip itself is the mark of a complete environment: python is linked before the step that can fail.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "negprompt needs Python 3.11 or newer, $(PYTHON) is $$($(PYTHON) --version 2>&1): make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Each stamp is redone when a requirement changes. Installed in place, so that the checkout's own files run.
# test brings all that the plain installation has and dev brings test, so their stamps need no second install.
$(VENV)/.installed: $(REQUIREMENTS) | $(BIN)/pip
	$(BIN)/pip install -q -c constraints.txt -e ".[report,search,export]"
	@touch $@

$(VENV)/.installed-%: $(REQUIREMENTS) | $(BIN)/pip
	$(BIN)/pip install -q -c constraints.txt -e ".[$*]"
	@touch $@ $(VENV)/.installed $(if $(filter dev,$*),$(VENV)/.installed-test)
