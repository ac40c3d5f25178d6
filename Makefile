# Everything runs from .venv, which the first target makes; only python3 (3.11+, with venv) is needed.
PYTHON ?= python3
unexport PYTHONDONTWRITEBYTECODE  # compiled modules are kept: the API starts in a third of the time
UV_VERSION := 0.13.9
BIN := .venv/bin
READY := .venv/.ready
PORT ?= 8000

.DEFAULT_GOAL := help
.PHONY: help setup demo test up test-fast test-nightly test-matrix coverage compose-test lint docs bench bench-check bench-gpu soak format lock

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## make .venv with the locked versions (everything below does it by itself)

$(READY): pyproject.toml locks/dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "ncore needs Python 3.11 or newer; try make PYTHON=python3.12")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@echo "installing the locked versions (torch is about 5 GB, once) ..."
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --require-hashes -r locks/dev.lock
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## figure 1 of the paper through the whole service, on embedded parts
	@$(BIN)/ncore demo

up: $(READY) ## the service at http://127.0.0.1:8000 (PORT=), data under ./var (NCORE_HOME=)
	@$(BIN)/ncore up --port $(PORT)

test: $(READY) ## every test, real servers included
	@$(BIN)/pytest -n 2 --dist loadgroup

test-fast: $(READY) ## the tests that start no process: under a minute
	@$(BIN)/pytest -n 2 -m 'not process and not nightly'

test-nightly: $(READY) ## the long forms of tests, which `make test` leaves out
	@$(BIN)/pytest -n 2 --dist loadgroup -m nightly

test-matrix: $(READY) ## the tests on each Python of 3.11, 3.12, 3.13 that is installed (TESTS= for some of them)
	@for version in 3.11 3.12 3.13; do \
	  export VIRTUAL_ENV=$(CURDIR)/.matrix/$$version; \
	  $(BIN)/uv venv --quiet --clear --no-python-downloads --python $$version $$VIRTUAL_ENV 2> /dev/null \
	    || { echo "Python $$version is not installed: left out"; continue; }; \
	  echo "Python $$version"; \
	  $(BIN)/uv pip install --quiet --require-hashes -r locks/dev.lock \
	  && $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e . \
	  && $$VIRTUAL_ENV/bin/pytest -n 2 --dist loadgroup $(TESTS) || exit 1; \
	done

coverage: $(READY) ## the tests again, counting branches in all processes; the table by file
	@$(BIN)/pytest -n 2 --dist loadgroup --cov --cov-report=term --durations=0 --durations-min=1000

compose-test: $(READY) ## docker-compose.yml on the Docker engine of this machine; says so where there is none
	@$(BIN)/python -m scripts.compose_test

lint: $(READY) ## what CI checks besides the tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell
	@$(BIN)/oxlint --quiet api/static
	@$(BIN)/deno check --quiet --no-remote --no-npm api/static/app.js api/static/pages/docs.js
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir .site

docs: $(READY) ## the reference pages, made from the code, and the site in ./site
	@$(BIN)/python -m scripts.reference
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

soak: $(READY) ## 200 kills of workers, broker, API and PostgreSQL while 40 experiments run (half an hour)
	@cd tests && ../$(BIN)/python soak.py

bench: $(READY) ## the benchmarks, as ratios within one run, and their page, docs/benchmarks.md
	@$(BIN)/python -m benchmarks --write

bench-check: $(READY) ## whether any ratio is worse than the committed one beyond their spread
	@$(BIN)/python -m benchmarks --check

bench-gpu: $(READY) ## the benchmarks of what a GPU runs; where there is none one line says so (status 0)
	@$(BIN)/python -m benchmarks gpu

format: $(READY) ## put the sources into the common format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format --quiet .

OTHERS := --extra timm --extra lightning --extra transformers --extra tensorboard --extra mlflow --extra wandb

lock: ## resolve the versions anew (needs a package registry)
	@for kind in "dev --extra engine --extra embedded --extra s3 --extra dev $(OTHERS)" "api --extra s3" "worker --extra engine --extra s3"; do \
	  set -- $$kind; name=$$1; shift; \
	  $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header "$$@" pyproject.toml -o locks/$$name.lock; \
	done
	@echo hatchling | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header \
	  --constraints locks/dev.lock - -o locks/build.lock
