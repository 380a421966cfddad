# make run · test · test-unit · data · sweep · benchmark · page · site · export · publish · lock        (make help lists all)
#
# PYTHON is only needed once, to create .venv; everything else runs in it. By default it is the first of these that
# works: some that lie on a PATH only say that they are not installed.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(if $(shell $(name) -c $(SUPPORTED) 2>&1 || echo no),,$(name))) python3)
SUPPORTED := 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Expected Python 3.11, 3.12 or 3.13, found " + sys.version.split()[0] + ". Name one: make PYTHON=python3.11 ...")'
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
TESTS  := $(VENV)/.installed-test
ARGS   ?=

# A run starts eight kernels and the tests some dozens of Pythons. Where the environment forbids bytecode, as that of many
# containers does, each would compile TensorFlow anew, which takes longer than to import it.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
TARGETS := help setup run test test-unit test-slow data other-sources sweep benchmark benchmark-serving benchmark-page page site export \
	publish clean-notebooks lint lock clean
.PHONY: $(TARGETS)

# Parameters of a command go into ARGS; make itself would take them for its own variables and targets, and do nothing.
GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
STRAY := $(filter-out ARGS PYTHON VENV BIN STAMP TESTS REAL SCENES_% MAKE%,$(GIVEN))
ifneq ($(STRAY),)
$(error $(firstword $(STRAY)) is no variable of this Makefile. Parameters go into ARGS: make run ARGS='-p $(firstword $(STRAY)) $($(firstword $(STRAY)))')
endif
ifneq ($(filter-out $(TARGETS) $(STAMP) $(TESTS),$(MAKECMDGOALS)),)
$(error $(firstword $(filter-out $(TARGETS),$(MAKECMDGOALS))) is no target (make help lists them). Options go into ARGS: make run ARGS='--from 05')
endif

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 20

# The environment is made anew only when the pins or the packages changed. uv is several times faster than pip, and
# either installs the same pins, which are complete. Neither compiles what may never be imported. This project itself is
# built with the pinned setuptools, which is there already, and not with one that is fetched for it.
install = { uv --version && uv pip install --quiet --no-deps --python $(BIN)/python -r $(1); } >/dev/null 2>&1 \
	|| $(BIN)/python -m pip install --quiet --no-compile --no-deps --disable-pip-version-check -r $(1)

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c $(SUPPORTED)
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || { echo "Creating $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing the pinned packages into $(VENV) (a minute or two, once)"
	@$(call install,requirements.txt)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(TESTS): $(STAMP) requirements-test.txt
	@echo "Installing what only tests need (a minute, once)"
	@$(call install,requirements-test.txt)
	@touch $@

setup: $(STAMP)  ## create .venv with the pinned packages

run: $(STAMP)  ## execute notebooks 01 to 08 in order; ARGS=--all adds the side roads, ARGS='--from 05', ARGS='-p epochs 5'
	@$(BIN)/python -m train_model.automation.run_study $(ARGS)

# The real photographs, where they lie beside the repository: the tests marked real_data then run too.
REAL := ../shared
test test-unit test-slow: export SCENES_REAL_DATA ?= $(if $(wildcard $(REAL)/data_sun09),$(CURDIR)/$(REAL)/data_sun09)
test test-unit test-slow: export SCENES_WEIGHTS_DIR ?= $(if $(wildcard $(REAL)/weights),$(CURDIR)/$(REAL)/weights)
# A file of tests stays on one worker, in the order of tests/conftest.py: the notebooks build on one another.
# A core per worker: two that compute on two threads each wait for one another most of the time.
PYTEST = OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
# What starts kernels, servers, browsers or other Pythons.
OTHERS := tests/notebooks tests/train_model/automation tests/train_model/sweep tests/train_model/test_backends.py \
	tests/train_model/test_saved_model.py tests/containerize_deploy

test: $(TESTS)  ## run every test but the slow ones; ARGS='-k sweep', ARGS='tests/train_model/test_heads.py'
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check .
	@$(BIN)/lint-imports --no-logo --no-cache > $(VENV)/imports.txt || { cat $(VENV)/imports.txt; exit 1; }
	@$(PYTEST) -m "not slow" $(ARGS)

test-unit: $(TESTS)  ## run the quick tests, in about a minute
	@$(PYTEST) -m "not slow and not real_data" $(OTHERS:%=--ignore=%) $(ARGS)

test-slow: $(TESTS)  ## run the slow tests: the page in a browser, the cloud guides, other processors
	@$(PYTEST) -m slow $(ARGS)

data: $(STAMP)  ## get the photographs out of the SUN 09 archive and split them; ARGS='--source FILE --out DIR'
	@$(BIN)/python -m data_prep_eda.sun09 --split $(ARGS)

other-sources: $(STAMP)  ## arrange images of further sources that you have; ARGS='--source FILE --as miml'
	@$(BIN)/python -m data_prep_eda.arrange $(ARGS)

sweep: $(STAMP)  ## one run per grid point; ARGS='--workers 2', ARGS='--grid FILE'
	@$(BIN)/python -m train_model.sweep $(ARGS)

benchmark: $(STAMP)  ## the original recipe and this one, side by side; ARGS=--publish
	@$(BIN)/python -m train_model.automation.benchmark $(ARGS)

benchmark-serving: $(TESTS)  ## latency, cold start, memory and size of the service
	@$(BIN)/python -m containerize_deploy.benchmark_serving $(ARGS)

page: $(STAMP)  ## serve the page that runs the model in the browser; ARGS='--port 8001', ARGS=--no-serve
	@$(BIN)/python -m containerize_deploy.page $(ARGS)

SITE_ENV := build/site-env
$(SITE_ENV)/.installed: containerize_deploy/site/requirements.txt
	@echo "Installing Sphinx into $(SITE_ENV) (a minute, once)"
	@$(PYTHON) -m venv --clear $(SITE_ENV)
	@$(SITE_ENV)/bin/python -m pip install --quiet --no-compile --no-deps --disable-pip-version-check -r $<
	@touch $@

site: $(STAMP) $(SITE_ENV)/.installed  ## build/site: the notebooks, guides and the page, as static files
	@rm -rf build/site
	@$(SITE_ENV)/bin/sphinx-build --quiet --fresh-env -c containerize_deploy/site -d build/site-cache . build/site
	@$(BIN)/python -m containerize_deploy.page --no-serve --out build/site/page --home ../
	@echo "The site is in $(CURDIR)/build/site"

benchmark-page: $(TESTS)  ## bytes, times and agreement of the page in Chromium; ARGS=--publish
	@$(BIN)/python -m containerize_deploy.page.benchmark --images $(wildcard $(REAL)/other_sources) $(ARGS)

export: $(TESTS)  ## write train_model/model_training.py from notebook 06
	@$(BIN)/python -m train_model.automation.publish export

publish: $(STAMP)  ## make a run of all on the real photographs the committed one; ARGS=runs/<timestamp>
	@$(BIN)/python -m train_model.automation.publish publish $(ARGS)

clean-notebooks: $(STAMP)  ## take photographs and logs out of the notebooks, after running them in Jupyter
	@$(BIN)/python -m train_model.automation.publish clean

lint: $(TESTS)  ## format and lint code and notebooks, check which way imports point
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix . && $(BIN)/lint-imports --no-logo --no-cache

# What only tests need stands in a file of its own, less what the first file pins already.
COMPILE = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --quiet --custom-compile-command "make lock"
lock: $(STAMP)  ## compile both requirements files from pyproject.toml, for all supported Pythons at once
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.8'
	@cat requirements.txt requirements-test.txt | grep -v '^-r' > .lock-all  # pins stay as they are where they can
	@$(COMPILE) --extra test --output-file .lock-all --no-annotate --no-header
	@$(COMPILE) --constraint .lock-all | grep -v 'lock-all$$' > .lock && mv .lock requirements.txt
	@{ echo "# What only tests need. This file is written by: make lock"; echo "-r requirements.txt"; \
		grep -vxFf requirements.txt .lock-all; } > requirements-test.txt
	@rm .lock-all
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["site"], sep="\n")' \
		| $(BIN)/uv pip compile - --universal --python-version 3.11 --quiet --custom-compile-command "make lock" \
		--output-file containerize_deploy/site/requirements.txt

clean:  ## remove what is generated, but neither data nor runs nor .venv
	@rm -rf build .cache .pytest_cache .ruff_cache .hypothesis
