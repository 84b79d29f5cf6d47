# Everything runs in .venv: a study with the packages of envs/requirements.lock, tests and checks
# with those of envs/developer.lock besides. Other people's tools are tried in .venv-tools and
# .venv-tools-old, a loop in JAX in .venv-jax. `make help` lists what there is.

PYTHON ?= python3
CORES ?= all
PORT ?= 8000
CONFIG ?=
BIN := .venv/bin
SOURCES := workflow/scripts workflow/terminal tests benchmarks docs/reproduction
OWN := PYTHONPATH=workflow/scripts $(BIN)/python -m gpt_math_domains
# The study that CONFIG names, of which the terminal is told in short.
STUDY = $(if $(CONFIG),--configfile $(CONFIG))
BRIEF := PYTHONPATH=workflow/scripts:workflow/terminal $(BIN)/snakemake --logger brief
REPORT = results/report$(addprefix _,$(basename $(notdir $(lastword $(CONFIG))))).zip
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check
# Without the name of PyTorch's build, so that any build will do.
UNNAMED := sed 's/^torch==\([^+]*\)+.*/torch==\1/'
FREEZE := $(BIN)/pip freeze | $(UNNAMED)
TOOLS_STUDY := results/tools/metrics/summary.csv results/tools/pretrain/data_5/model_2/answers.csv
SLURM := munge slurm-client slurmctld slurmd

.DEFAULT_GOAL := help
.PHONY: help quick run plan reproduce watch open report test test-slurm test-browser test-conda \
    test-tools stress lint bench parity docs lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.venv/installed: envs/requirements.lock
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(INSTALL) --requirement envs/requirements.lock
	touch $@

.venv/developer: envs/developer.lock .venv/installed
	$(INSTALL) --requirement envs/developer.lock --constraint envs/requirements.lock
	touch $@

.venv-%/installed: envs/%.lock
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

quick: override CONFIG := config/quick.yaml
quick: run ## run the quick study on the CPU, in minutes

run: .venv/installed ## run a study: make run CONFIG=config/mine.yaml; without CONFIG, the published one
	@$(BRIEF) --cores $(CORES) $(STUDY)
	@echo
	@$(OWN) tell $(CONFIG)

plan: .venv/installed ## tell what `make run` would run, and about how long that takes
	@$(BRIEF) --logger-brief-cores $(CORES) --dry-run $(STUDY)

# A part is a study of its own, over the published one with more seeds.
reproduce: .venv/installed ## run the published study part by part, which takes days; then compare
	@for part in config/reproduce/*.yaml; do \
	    echo "== $$part"; $(BRIEF) --dry-run --configfile config/reproduce.yaml $$part || exit; \
	done
	@for part in config/reproduce/*.yaml; do \
	    echo "== $$part"; \
	    $(BRIEF) --cores $(CORES) --configfile config/reproduce.yaml $$part || exit; \
	done
	@$(OWN).results.reproduction results/reproduce docs/reproduction

watch: .venv/installed ## show a study in a browser while it runs
	@$(OWN) watch --port $(PORT) $(CONFIG)

open: .venv/installed ## show the page of a finished study in a browser
	@$(OWN) open $(CONFIG)

report: .venv/installed ## pack a finished study into one file, to hand on
	@$(BRIEF) --report $(REPORT) $(STUDY)
	@echo $(REPORT)

test: .venv/developer ## run the tests that need nothing but Python and g++
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist worksteal

test-browser: .venv/developer /usr/bin/chromium ## look at the page and the figures in Chromium
	SCREENSHOTS=results/screenshots $(BIN)/pytest tests/browser

/usr/bin/chromium: # Debian's; as root
	apt-get update
	apt-get install --yes --no-install-recommends chromium

test-slurm: .venv/developer ## run the study on a SLURM cluster of its own, on this machine (as root)
	dpkg-query --show $(SLURM) >/dev/null 2>&1 || \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	      apt-get install -qq --no-install-recommends $(SLURM); }
	$(BIN)/pytest -s tests/cluster

test-conda: .venv/developer /usr/bin/patchelf /usr/bin/chromium ## solve, link and use the conda environments
	$(BIN)/pytest tests/conda

/usr/bin/patchelf: # Debian's; as root
	apt-get update
	apt-get install --yes --no-install-recommends patchelf

# A tool reads the files of a study that has run, without a network.
test-tools: .venv/installed .venv-tools/installed .venv-tools-old/installed ## show checkpoints, data and the workflow to TransformerLens, nnsight, snakedeploy and others
	$(BIN)/snakemake --cores $(CORES) $(TOOLS_STUDY) --configfile tests/workflow/smoke.yaml tests/tools/study.yaml
	rm -rf results/tools/wheel
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir results/tools/wheel .
	rm -rf build workflow/scripts/*.egg-info
	HF_HUB_OFFLINE=1 .venv-tools/bin/python -m pytest tests/tools
	HF_HUB_OFFLINE=1 .venv-tools-old/bin/python -m pytest tests/tools/test_transformers.py

stress: .venv/developer ## kill trainings at 50 random moments, and measure what saving costs
	KILL_POINTS=50 $(BIN)/pytest tests/workflow/test_kill_points.py tests/workflow/test_stops.py
	$(BIN)/python benchmarks/resume.py

lint: .venv/developer ## check style, rules and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/Snakefile workflow/rules
	$(BIN)/snakemake --lint
	$(BIN)/mypy $(SOURCES)
	PYTHONPATH=workflow/scripts $(BIN)/lint-imports --no-cache

bench: .venv/developer .venv-jax/installed ## time a training step beside transformers, and the workflow
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/workflow.py

parity: .venv/developer ## train ten seeds here and with transformers.Trainer, and compare
	$(BIN)/python benchmarks/parity.py

docs: .venv/installed ## write config/schema.json and the reference in config/README.md
	PYTHONPATH=workflow/scripts $(BIN)/python -m gpt_math_domains.study.documentation config

lock: ## resolve the .in files in envs/ into their .lock files
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(INSTALL) --requirement envs/requirements.in
	{ echo "# Written by make lock from requirements.in."; $(FREEZE); } > envs/requirements.lock
	touch .venv/installed
	$(INSTALL) --requirement envs/developer.in --constraint envs/requirements.lock
	{ echo "# Written by make lock from developer.in; goes on top of requirements.lock and repeats none of it."; \
	  $(FREEZE) | grep -vxFf envs/requirements.lock; } > envs/developer.lock
	touch .venv/developer
	rm -rf .venv-tools .venv-tools-old .venv-jax
	for name in tools tools-old jax; do \
	    $(PYTHON) -m venv .venv-$$name && \
	    .venv-$$name/bin/pip install --quiet --disable-pip-version-check --requirement envs/$$name.in && \
	    { echo "# Written by make lock from $$name.in."; \
	      .venv-$$name/bin/pip freeze | $(UNNAMED); } > envs/$$name.lock && \
	    touch .venv-$$name/installed || exit 1; \
	done

clean: ## remove the results of the quick study, caches and .venv; the published study's stay
	rm -rf .venv .venv-tools .venv-tools-old .venv-jax .hypothesis .mypy_cache .pytest_cache .ruff_cache results/quick
