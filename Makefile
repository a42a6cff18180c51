# `make demo` and `make test` set up everything they need; the other targets are for daily work.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.14 python3.13 python3.12 python3.11 python3; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit lint format generate bench cluster chart clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.ready: pyproject.toml uv.lock hack/bootstrap.py
	@test -n "$(PYTHON)" || { echo "xpullm needs Python 3.11 or newer: install it, or say PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) hack/bootstrap.py
	@touch $@

setup: .venv/.ready ## Make the virtual environment from the lock file

demo: .venv/.ready ## Run the main job on this machine, no GPU needed: plan, fail, heal, serve
	@$(BIN)/python -m hack.demo

test: lint ## Set up everything and run all tests
	@$(BIN)/python -m hack.cluster build
	@$(BIN)/python -m hack.engine build || echo "tests with a real vLLM will be skipped"
	@$(BIN)/pytest $(PYTEST_ARGS)

unit: .venv/.ready ## Run what needs no cluster
	@$(BIN)/pytest tests/unit tests/property $(PYTEST_ARGS)

lint: .venv/.ready ## Check format, lint, types and the direction of imports
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet . && $(BIN)/mypy && $(BIN)/lint-imports --verbose | tail -n 2

format: .venv/.ready ## Format the code and apply safe lint fixes
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

generate: .venv/.ready ## Rewrite what is generated: CRDs, chart copies, docs
	@$(BIN)/python -m hack.generate

bench: .venv/.ready ## Measure: estimator, diagnosis, healing, operator; print docs/benchmarks.md's tables
	@$(BIN)/python -m tests.bench

cluster: .venv/.ready ## Start the test cluster and keep it until Ctrl-C
	@$(BIN)/python -m hack.cluster up

chart: .venv/.ready ## Lint and render the Helm chart
	@$(BIN)/pytest tests/chart $(PYTEST_ARGS)

clean: ## Remove what was built here (the binaries' cache outside stays)
	@rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
