# make demo   from a fresh clone to an aligned average in a Scipion project (demo_output/)
# make gui    the demo's project in Scipion's window (makes the demo first where it is not there)
# make test   all tests; fast ones first
# make neighbours   round trips with programs and plugins of the field, in environments of their own (3 GB, some minutes)
# make test-scipion   the Scipion tests again, each class by Scipion's own runner
# make lint   style, layout, types, and which module may import which
# make docs   the documentation as a site in docs/_build/html; runs its gallery (some minutes), needs no network then
# make clean  removes everything that make made, the demo's output too
#
# The only needs are make, a compiler and Python 3.11 with venv. The demo and the tests run the Scipion side and the
# engine in one environment, and the packages that Scipion pins install on Python 3.11. Another place for it:
#   make demo PYTHON=/opt/python3.11/bin/python3

VENV ?= .venv
TORCH ?= torch==2.13.0
PYTHON ?=
PYTEST_ARGS ?=
# Tests run in this many processes, one for each processor; JOBS=0 runs them in one, as a debugger needs it.
JOBS ?= logical

BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Plugins whose converters the tests try, as they are on the index: seen by these tests alone, so they are no part of
# the environment, whose packages they would change. Where they cannot be had, the tests are skipped.
NEIGHBOURS := $(VENV)/neighbours
PLUGINS := scipion-em-relion==5.0.2 scipion-em-xmipp==29.0.1 scipion-em-cryosparc2==5.0.1 emtools==0.1.3
# Programs of the field that read our tables, in an environment of their own: some 100 s and 2.5 GB. torch comes first,
# so that one build of it is chosen. `make test` runs without it, and its tests are skipped then.
PROGRAMS_ENV := $(VENV)/programs
PROGRAMS := aspire==0.14.3 cryodrgn==4.3.1 starparser==1.60 starfile==0.5.13 angdist==1.4 countparticles==1.4
# CCP-EM's pipeliner, which finds our jobs in an environment of its own, without the engine.
PIPELINER_ENV := $(VENV)/pipeliner
PIPELINER := ccpem-pipeliner==1.6.1
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3.11 python3 python $(wildcard $(HOME)/.pyenv/versions/3.11*/bin/python \
	/usr/bin/python3.11 /usr/local/bin/python3.11 /opt/*/bin/python3.11))
# A name on the PATH may be a shim that fails, and a distribution's Python may lack venv: run it.
FITS := import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 11))
# Folders of tests hold the engine's, which are quick; the flat files are Scipion's, which start projects.
FAST_FIRST = $(sort $(wildcard scipion_udl/tests/*/)) scipion_udl/tests
# A file of functions, or a class with its project, stays in one process, and they are begun in the order given.
IN_TURN = --maxprocesses 8 --dist loadscope --no-loadscope-reorder

.PHONY: demo gui test test-scipion neighbours plugins programs pipeliner lint docs clean
.DEFAULT_GOAL := demo

$(READY): setup.py
	@python=; for candidate in $(CANDIDATES); do \
	  if "$$candidate" -c '$(FITS)' >/dev/null 2>&1; then python="$$candidate"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "No Python 3.11 with venv was found (tried: $(CANDIDATES))."; \
	  echo "The packages that Scipion pins need exactly 3.11 here. Debian, Ubuntu: apt-get install python3.11-venv python3.11-dev python3-tk;"; \
	  echo "or name one: make PYTHON=/path/to/python3.11. The command line alone runs on 3.11 and later: pip install '.[engine]'"; \
	  exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$("$$python" -c 'import sys; print(sys.executable)') (once, some minutes)"; \
	"$$python" -m venv $(VENV)
	$(PIP) install '$(TORCH)'
	$(PIP) install -e '.[engine,scipion,dev]'
	@touch $@

demo: $(READY)
	$(BIN)/python examples/demo.py

gui: $(READY)
	$(BIN)/python examples/demo.py window

neighbours: plugins programs pipeliner
	$(BIN)/python -m pytest -n 0 scipion_udl/tests/test_neighbours.py scipion_udl/tests/io/test_programs.py \
	  scipion_udl/tests/ccpem $(PYTEST_ARGS)
	@command -v relion_stack_create >/dev/null || echo "Note: RELION 3.1.3 is not installed (Debian: relion-cpu or relion); its round trips were skipped."

plugins: $(NEIGHBOURS)/.ready

programs: $(PROGRAMS_ENV)/.ready

pipeliner: $(PIPELINER_ENV)/.ready

$(PIPELINER_ENV)/.ready: Makefile setup.py | $(READY)
	@rm -rf $(PIPELINER_ENV); \
	if $(BIN)/python -m venv $(PIPELINER_ENV) \
	  && $(PIPELINER_ENV)/bin/python -m pip --disable-pip-version-check --no-input -qq install $(PIPELINER) -e .; then \
	  touch $@; \
	else \
	  rm -rf $(PIPELINER_ENV); \
	  echo "Note: $(PIPELINER) could not be installed; the tests that need it are skipped."; \
	fi

$(PROGRAMS_ENV)/.ready: Makefile | $(READY)
	@rm -rf $(PROGRAMS_ENV); \
	if $(BIN)/python -m venv $(PROGRAMS_ENV) \
	  && $(PROGRAMS_ENV)/bin/python -m pip --disable-pip-version-check --no-input -qq install '$(TORCH)' \
	  && $(PROGRAMS_ENV)/bin/python -m pip --disable-pip-version-check --no-input -qq install '$(TORCH)' $(PROGRAMS); then \
	  touch $@; \
	else \
	  rm -rf $(PROGRAMS_ENV); \
	  echo "Note: $(PROGRAMS) could not be installed; the tests that need them are skipped."; \
	fi

$(NEIGHBOURS)/.ready: Makefile | $(READY)
	@rm -rf $(NEIGHBOURS); \
	if $(PIP) install --no-deps --target $(NEIGHBOURS).part $(PLUGINS); then \
	  mv $(NEIGHBOURS).part $(NEIGHBOURS) && touch $@; \
	else \
	  rm -rf $(NEIGHBOURS).part; \
	  echo "Note: $(PLUGINS) could not be installed; the tests that need them are skipped."; \
	fi

test: $(READY) plugins
	$(BIN)/python -m pytest -n $(JOBS) $(IN_TURN) $(filter-out %/__pycache__/,$(FAST_FIRST)) benchmarks/tests $(PYTEST_ARGS)

# Those whose names hold one of the words in CLASSES, or all.
test-scipion: $(READY)
	$(BIN)/python -m scipion_udl.tests.run_by_scipion $(CLASSES)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo importlinter.toml
	$(BIN)/python -m mypy

# A warning is an error, and so is a script of the gallery that fails.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

$(VENV)/.docs: setup.py | $(READY)
	$(PIP) install -e '.[engine,docs]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache demo_output
	rm -rf docs/_build docs/examples docs/reference/commands docs/reference/modules
	find scipion_udl -name __pycache__ -type d -prune -exec rm -rf {} +
