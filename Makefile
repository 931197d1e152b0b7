# `make` lists the targets. They run in one virtual environment, built once from requirements/dev.lock.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
JOBS ?= auto
ARGS ?=
INPUT ?=
SEEDS ?= 2000
REV ?=
export SEED

.DEFAULT_GOAL := help
.PHONY: help venv demo test simulate mutate bench lint format types check docs wheels audit release structure lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# Debian has ensurepip, which venv needs, in a package of its own. $(error) stops make with one line.
define need_python
$(if $(shell $(PYTHON) -c 'print("yes")' 2>/dev/null),,$(error $(PYTHON) does not run here (Debian: apt install python3 python3-venv)))
$(if $(shell $(PYTHON) -c 'import sys; print(sys.version_info >= (3, 10))' | grep True),,$(error kplpy needs Python 3.10 or later; choose one with PYTHON=...))
$(if $(shell $(PYTHON) -c 'import venv, ensurepip; print("yes")' 2>/dev/null),,$(error $(PYTHON) cannot make virtual environments; install its venv module first (Debian: apt install python3-venv)))
endef

$(STAMP): requirements/dev.lock pyproject.toml
	$(need_python)
	@echo "preparing $(VENV) (once; a minute or so)"
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

venv: $(STAMP)  ## build the virtual environment (the other targets do it when needed)

demo: $(STAMP)  ## put lines into a local Kinesis, read them back, compare; INPUT='files'
	@$(BIN)/kplpy demo $(INPUT)

test: $(STAMP)  ## run all tests in parallel; ARGS='...' goes to pytest
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(ARGS)

simulate: $(STAMP)  ## run random histories of the core against a modelled Kinesis: SEEDS=20000, or one of them: SEED=17
	@$(BIN)/python scripts/simulate.py $(SEEDS)

mutate: $(STAMP)  ## check that the simulation finds faults put into the core (some minutes); ARGS='words of their names'
	@$(BIN)/python scripts/mutate.py $(ARGS)

bench: $(STAMP)  ## measure kplpy, the KPL (Java 17, mvn) and others, about 19 minutes; ARGS='throughput --rounds 3'
	@$(BIN)/python -m benchmarks $(or $(ARGS),all)

lint: $(STAMP)  ## check rules and formatting with ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(STAMP)  ## fix and format with ruff
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(STAMP)  ## check types with mypy --strict
	@$(BIN)/mypy

check: lint types test  ## run lint, types and test

# The site has an environment of its own, so that its packages are not in the environment of tests and checks.
DOCS := build/docs-env
$(DOCS)/.ready: requirements/docs.lock | $(STAMP)
	@rm -rf $(DOCS)
	@$(BIN)/uv venv --quiet --no-project --python $(BIN)/python $(DOCS)
	@$(BIN)/uv pip install --quiet --python $(DOCS)/bin/python --require-hashes -r requirements/docs.lock
	@touch $@

# Without --quiet: it hides warnings, such as broken links, from --strict too (MkDocs 1.6.1).
docs: $(DOCS)/.ready  ## build the documentation site into build/site; a broken link or reference is an error
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/python -m mkdocs build --strict
	@echo "build/site/index.html"

# What releases are built and checked with has an environment of its own, too.
RELEASE := build/release-env
RELEASE_PATH := $(abspath $(RELEASE))/bin:$(abspath $(BIN))
$(RELEASE)/.ready: requirements/release.lock | $(STAMP)
	@rm -rf $(RELEASE)
	@$(BIN)/uv venv --quiet --no-project --python $(BIN)/python $(RELEASE)
	@$(BIN)/uv pip install --quiet --python $(RELEASE)/bin/python --require-hashes -r requirements/release.lock
	@touch $@

# The wheel with compiled code gets the manylinux tag of the oldest glibc that it runs with.
wheels: $(RELEASE)/.ready  ## build the source, the wheel with compiled code (needs a C compiler) and the pure one into dist
	@rm -rf dist build/wheels
	@$(BIN)/uv build --quiet --sdist --out-dir dist .
	@KPLPY_ACCELERATOR=no $(BIN)/uv build --quiet --wheel --out-dir dist .
	@KPLPY_ACCELERATOR=must $(BIN)/uv build --quiet --wheel --out-dir build/wheels .
	@PATH="$(RELEASE_PATH):$$PATH" auditwheel repair --wheel-dir dist build/wheels/*.whl 2>/dev/null
	@ls dist

audit: $(RELEASE)/.ready  ## ask OSV for known vulnerabilities of the locked packages; left out where it cannot be reached
	@PATH="$(RELEASE_PATH):$$PATH" scripts/audit

release: $(RELEASE)/.ready  ## build and check the packages and their SBOM in dist; uploads nothing, says what is left to do
	@PATH="$(RELEASE_PATH):$$PATH" scripts/release

structure: $(STAMP)  ## print lines, functions, long files and imports of the work tree, or of a git revision: REV=main
	@$(BIN)/python scripts/structure.py $(REV)

lock: $(STAMP)  ## write requirements/*.lock again, with the newest and the lowest versions allowed
	@PATH="$(abspath $(BIN)):$$PATH" bash scripts/lock

clean:  ## remove the virtual environment and everything built
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
