# `make demo` and `make test` are all that a newcomer needs: each makes its own virtual
# environment in .venv from what this machine has (Python >= 3.11 with venv), and renews it
# when something has changed. `make help` lists the rest.

PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,\
    $(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    && echo $(name))))

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

# What the tests import must be what is installed, whatever the caller's shell is set to.
unexport PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE = 1

# Directories are listed too: theirs is the time that changes when a file is taken away.
SOURCES := setup.py pyproject.toml \
    $(shell find obnam obnam_server twisted -name __pycache__ -prune -o -print)
CODE := obnam obnam_server twisted tests benchmarks demo docs/conf.py setup.py

# What the programs below are given; for example `make test ARGS='-k keyring -x'`.
ARGS ?=
DIR ?=
WORK ?= .demo
# Tests wait as much as they work; more at once than this would wait for each other.
JOBS ?= 2
SOAK ?= 20

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: demo
demo: $(VENV)/.installed  ## back up DIR to a real server, restore it, compare (DIR=…)
	@$(BIN)/python -B -m demo --commands $(BIN) --work "$(WORK)" $(if $(DIR),"$(DIR)")

.PHONY: test
test: $(VENV)/.test $(VENV)/.installed  ## all tests, with the installed commands (ARGS='-k …')
	$(BIN)/pytest -n $(JOBS) --dist worksteal $(ARGS)

.PHONY: soak
soak: $(VENV)/.test $(VENV)/.installed  ## the tests of chance, far longer (SOAK=20 times)
	OBNAM_SOAK=$(SOAK) $(BIN)/pytest -n $(JOBS) --dist worksteal \
	    tests/damage tests/unit/store/test_model.py tests/unit/store/test_model_damage.py \
	    tests/unit/server/test_model_revocation.py tests/unit/server/test_hostile_authenticated.py \
	    tests/unit/upkeep/test_retention_properties.py $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev  ## ruff: mistakes, style and format
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

.PHONY: format
format: $(VENV)/.dev  ## let ruff mend what it can
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

.PHONY: types
types: $(VENV)/.dev $(VENV)/.installed  ## mypy --strict, as pyproject.toml says
	$(BIN)/mypy

.PHONY: docs
docs: $(VENV)/.dev  ## the documentation, into docs/_build/html; a warning is an error
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

.PHONY: news
news: $(VENV)/.dev  ## show what the next release's news would be
	@$(BIN)/towncrier build --draft --version next

.PHONY: benchmark
benchmark: $(VENV)/.installed  ## compare with restic and borg (ARGS=--help; takes long)
	$(BIN)/python -m benchmarks $(ARGS)

.PHONY: check
check:  ## everything that CI does
	.ci/run

.PHONY: constraints
constraints: $(VENV)/.python  ## renew constraints.txt with the newest versions there are
	$(PIP) install --upgrade --upgrade-strategy eager setuptools tox '.[test,dev]'
	sed '/^[^#]/d' constraints.txt > constraints.new
	$(PIP) freeze --all --exclude obnam --exclude pip >> constraints.new
	mv constraints.new constraints.txt

.PHONY: clean
clean:  ## away with all that was made here
	rm -rf $(VENV) .demo .tox build dist *.egg-info docs/_build
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The virtual environment grows as it is needed: the demonstration wants only what the
# programs need, the tests a little more, the linters and the documentation the rest.
#
# The project is really installed, not linked ("editable"): a link hides the twistd plugin,
# and what is tested should be what a user gets.

$(VENV)/.python:
	$(if $(PYTHON),,$(error Obnam needs Python 3.11 or newer; name one with `make PYTHON=…`))
	@echo "Making a virtual environment in $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV) || { rm -rf $(VENV); \
	    echo "This Python cannot make a virtual environment" \
	         "(Debian: apt install python3-venv)" >&2; exit 1; }
	@touch $@

$(VENV)/.needed: $(VENV)/.python constraints.txt setup.py
	@echo "Installing what Obnam needs"
	@$(PIP) install -c constraints.txt setuptools
	@$(call install,.)
	@touch $@

$(VENV)/.test: $(VENV)/.needed
	@echo "Installing what the tests need"
	@$(call install,'.[test]')
	@touch $@

$(VENV)/.dev: $(VENV)/.needed
	@echo "Installing what the linters and the documentation need"
	@$(call install,'.[dev]')
	@touch $@

$(VENV)/.installed: $(VENV)/.needed $(SOURCES)
	@echo "Installing Obnam"
	@touch $@.new
	@$(call install,--no-deps --no-index --force-reinstall .)
	@mv $@.new $@

# The stamp's time is when the installation began: what is edited meanwhile is installed next.
# setuptools copies into build/ and forgets nothing, so a deleted module would live on there.
# Twisted notes which plugins there are in dropin.cache; asked once, it makes the note anew.
define install
rm -rf build \
    && $(PIP) install -c constraints.txt --no-build-isolation $(1) \
    && rm -rf build obnam.egg-info \
    && $(BIN)/twistd --help > /dev/null
endef
