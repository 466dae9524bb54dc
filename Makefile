# The door. Each recipe is short; what is longer lives in scripts/. TORCH=0 leaves PyTorch out.
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
export TORCH PYTHON

.PHONY: help quickstart setup test test-slow test-faults lint fix docs docs-check bench lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

quickstart: ## train, pack, seal, serve and call two real models, from nothing
	@scripts/setup quickstart
	@$(BIN)/python examples/01_quickstart/run.py

setup: ## make .venv with everything that the tests need
	@scripts/setup develop

test: setup ## set up everything and run all checks, style and types included (minutes)
	$(PYTEST) -n 2 --dist loadfile -m "not slow" $(ARGS)

test-slow: setup ## fault sweeps, large files, and properties with a thousand new examples each
	DOSIRAK_PROPERTIES=1000 $(PYTEST) $$(grep -rl "^from hypothesis" tests) $(ARGS)
	$(PYTEST) -m slow $(ARGS)

test-faults: setup ## what crashes, hangs, floods and rubbish do to a server (hours; FAULTS=0.1 a tenth)
	DOSIRAK_FAULTS=$(or $(FAULTS),1) $(PYTEST) tests/faults/serving $(ARGS)
	@$(BIN)/python scripts/write_reference.py

lint: setup ## style, types and layers
	@$(BIN)/ruff check . && $(BIN)/ruff format --check --quiet .
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pyright
	@$(BIN)/lint-imports

fix: setup ## mend what can be mended by itself
	@$(BIN)/ruff check --fix-only --quiet . && $(BIN)/ruff format .

docs: setup ## write docs/reference from the code
	@$(BIN)/python scripts/write_reference.py

docs-check: setup ## the reference agrees with the code; every block in the docs runs; every link resolves
	$(PYTEST) -q tests/house/test_documents.py docs README.md

bench: setup ## figures for this machine
	@$(BIN)/python -m bench

lock: setup ## choose new versions of everything (constraints.txt)
	@scripts/lock

clean: ## remove what the targets above made
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist
