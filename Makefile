# make run · test · data · sweep · benchmark · export · lock        (make help lists all)
#
# PYTHON is only needed once, to create .venv; everything else runs in it.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help setup run test data sweep benchmark benchmark-serving export publish lint lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

# The environment is made anew only when the pins or the packages changed.
$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Expected Python 3.11, 3.12 or 3.13, found " + sys.version.split()[0] + ". Name one: make PYTHON=python3.11 ...")'
	@test -x $(BIN)/python || { echo "Creating $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing the pinned packages into $(VENV) (a few minutes, once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

setup: $(STAMP)  ## create .venv with the pinned packages

run: $(STAMP)  ## execute notebooks 01 to 08 in order; ARGS='--from 05', ARGS='-p epochs 5'
	@$(BIN)/python -m train_model.automation.run_study $(ARGS)

# The real photographs, where they lie beside the repository: the tests marked real_data then run too.
REAL := $(abspath ../shared)
test: export SCENES_REAL_DATA ?= $(wildcard $(REAL)/data_sun09)
test: export SCENES_WEIGHTS_DIR ?= $(wildcard $(REAL)/weights)
# A file of tests stays on one worker: the notebooks build on one another.
test: $(STAMP)  ## run every test; ARGS='-k sweep', ARGS='tests/test_heads.py'
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && $(BIN)/lint-imports --no-logo --quiet
	@$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

data: $(STAMP)  ## get the photographs out of the SUN 09 archive and split them; ARGS='--source FILE'
	@$(BIN)/python -m data_prep_eda.sun09 --out data_prep_eda/data_sun09 $(ARGS)
	@$(BIN)/python -m data_prep_eda.split

sweep: $(STAMP)  ## one run a grid point; ARGS='--grid train_model/sweep/study_grid.yml --workers 2'
	@$(BIN)/python -m train_model.sweep $(or $(ARGS),--grid train_model/sweep/study_grid.yml)

benchmark: $(STAMP)  ## the original recipe and this one, side by side
	@$(BIN)/python -m train_model.automation.benchmark $(ARGS)

benchmark-serving: $(STAMP)  ## latency, cold start, memory, fuzzing and soak of the service
	@$(BIN)/python -m containerize_deploy.benchmark_serving $(ARGS)

export: $(STAMP)  ## write train_model/model_training.py from notebook 06
	@$(BIN)/python -m train_model.automation.publish export

publish: $(STAMP)  ## make a run on the real photographs the committed one; ARGS=runs/<timestamp>
	@$(BIN)/python -m train_model.automation.publish publish $(ARGS)

lint: $(STAMP)  ## format and lint code and notebooks
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix . && $(BIN)/lint-imports --no-logo

lock: $(STAMP)  ## compile requirements.txt from pyproject.toml, for all supported Pythons at once
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	@$(BIN)/uv pip compile pyproject.toml --extra test --universal --python-version 3.11 --quiet \
		--custom-compile-command "make lock" --output-file requirements.txt

clean:  ## remove what is generated, but neither data nor runs nor .venv
	@rm -rf build .cache .pytest_cache .ruff_cache .hypothesis

.PHONY: page benchmark-page
page: $(STAMP)  ## serve the page that runs the model in the browser; ARGS='--port 8001', ARGS=--no-serve
	@$(BIN)/python -m containerize_deploy.page $(ARGS)

benchmark-page: $(STAMP)  ## bytes, times and agreement of the page in Chromium; ARGS=--publish
	@$(BIN)/python -m containerize_deploy.page.benchmark --images $(wildcard $(REAL)/other_sources) $(ARGS)
