# `make demo` and `make test` need only Python 3.11+, pip (or uv) and make.
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
UV := $(shell command -v uv 2>/dev/null)

.PHONY: help demo test lint format bench clean

help: ## list what can be made
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.installed: pyproject.toml
	@echo "Installing Podium and its development tools into $(VENV) (about a minute, once) ..."
ifneq ($(UV),)
	@$(UV) venv --quiet --allow-existing --python "$(PYTHON)" $(VENV)
	@$(UV) pip install --quiet --python $(BIN)/python --editable . --group dev
else
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable . --group dev
endif
	@touch $@

demo: $(VENV)/.installed ## answer 30 real questions through simulated providers, with no key and no network
	@$(BIN)/podium demo

test: $(VENV)/.installed ## tests, lint, strict types and layering
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest

lint: $(VENV)/.installed ## only lint, types and layering
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy
	@$(BIN)/lint-imports

format: $(VENV)/.installed ## rewrite the code in the project's style
	@$(BIN)/python -m ruff check --fix .
	@$(BIN)/python -m ruff format .

bench: $(VENV)/.installed ## measure, each figure beside a reference in the same command
	@$(BIN)/python -m bench

clean: ## remove what was made
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
