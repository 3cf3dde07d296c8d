# Every target works in a virtual environment that it makes. `make demo` and `make test` are all a newcomer needs.
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak lint format types bench docs servers clean

help: ## Show this help
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make the virtual environment with everything in it

$(STAMP): pyproject.toml constraints.txt scripts/setup.sh
	PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/setup.sh
	@touch $(STAMP)

servers: ## Install (or name) the Debian packages the tests need: Prometheus, Alertmanager, PostgreSQL, Chromium
	scripts/install-debian-packages.sh

demo: $(STAMP) ## The whole loop on real images: fine-tune, serve, monitor, drift, late labels, recovery
	$(BIN)/trueup demo --once

test: $(STAMP) servers lint types ## Lint, type-check and run all tests
	$(BIN)/python -m pytest

soak: $(STAMP) ## Kill the daemon 200 times and capturing processes 1,000 times, and look whether anything is lost
	$(BIN)/python -m tests.integration.soak

lint: $(STAMP) ## Lint, formatting, import direction, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python -m grafana.build --check

types: $(STAMP) ## Strict type check of monitor/
	$(BIN)/mypy

format: $(STAMP) ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Every figure that the documentation claims
	scripts/bench.sh $(BIN)/python

docs: $(STAMP) ## Regenerate the generated pages and dashboards
	$(BIN)/python -m grafana.build
	$(BIN)/python -m monitor.export.catalogue > docs/metrics.md

clean: ## Remove the virtual environment and what the demo wrote
	rm -rf $(VENV) demo-output
