# What can be done here? `make help` lists it. Each target prepares what it needs; a second run costs nothing.
#
#   PYTHON=/path/to/python3   interpreter for the environments (3.11 or newer)
#   DEMARC_TOOLS=DIR          where Envoy, Triton and the Kubernetes API live (default: ~/.cache/demarc/tools)

SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
PY := $(BIN)/python
PYTEST := $(BIN)/pytest
REAL := cluster or engine or proxy or e2e
PURE := operator/demarc/api/*,operator/demarc/policy/*,operator/demarc/planning/*,operator/demarc/xds/*,operator/demarc/audit/*
phase = @printf '\n== %s\n' "$(1)"

.PHONY: help setup tools kube demo up down test test-fast lint types fmt golden generate verify cover bench notes lock clean

help:       ## this list
	@sed -n 's/^\([a-z-]*\): *[^#]*## \(.*\)/  \1\t\2/p' Makefile | expand -t 14

setup:      ## .venv from the hash lock, demarc installed editable
	@tools/setup.sh

tools: setup  ## Envoy and Triton, outside the checkout
	@tools/envoy.sh
	@tools/triton.sh

kube:       ## a real kube-apiserver and etcd, built from source once (minutes)
	@tools/kube-apiserver.sh

demo: setup tools  ## the four promises shown on this machine
	@$(PY) demo/run.py

up: setup tools    ## the sample bank runs on this machine until `make down`
	@$(BIN)/demarc up examples/bank

down: setup ## end what `make up` started
	@$(BIN)/demarc down

test: setup tools kube lint types  ## everything: lint, types, all tiers of tests
	$(call phase,tests: unit$(,) golden$(,) documentation)
	$(PYTEST) -n 2 -m "not ($(REAL))"
	$(call phase,tests: contracts with Kubernetes$(,) Envoy and Triton)
	$(PYTEST) -m "(cluster or engine or proxy) and not e2e"
	$(call phase,tests: end to end)
	$(PYTEST) -m e2e

test-fast: setup lint  ## lint, unit, laws, goldens, documentation; no real programs
	$(call phase,tests: unit$(,) golden$(,) documentation)
	$(PYTEST) -n 2 -m "not ($(REAL))"

lint: setup ## style, spelling and import contracts
	$(call phase,lint)
	@$(BIN)/ruff check && $(BIN)/ruff format --check || { echo "run: make fmt"; exit 1; }
	@$(BIN)/codespell operator tests e2e docs tools .ci *.md
	@$(BIN)/lint-imports --no-cache > .lint-imports.log || { cat .lint-imports.log; echo "see: [tool.importlinter] in pyproject.toml"; exit 1; }
	@tail -n 2 .lint-imports.log

types: setup ## mypy and pyright, both strict
	$(call phase,types)
	@$(BIN)/mypy
	@$(BIN)/pyright

fmt: setup  ## format, and repair what ruff can
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format --quiet

golden: setup ## write the expected outputs anew; read the difference before you commit it
	DEMARC_GOLDEN=write $(PYTEST) -q tests/golden

generate: setup ## write every generated file anew
	@$(PY) tools/generate.py

verify: setup ## everything CI checks; changes no file
	@$(PY) tools/generate.py --check
	@$(MAKE) --no-print-directory test

cover: setup ## pure packages at 100 %, the rest at 90 %
	$(BIN)/coverage run -m pytest -q -m "not ($(REAL))"
	$(BIN)/coverage report --include='$(PURE)' --fail-under=100
	$(BIN)/coverage report --omit='$(PURE)' --fail-under=90

bench: setup tools ## stages of a decision, side by side with peers
	@$(PY) bench/run.py

notes: setup ## preview of the next changelog section
	@$(BIN)/towncrier build --draft --version next

lock: setup ## write the hash locks anew from pyproject.toml and requirements/*.in
	@tools/lock.sh

clean:      ## remove what was made in the checkout; tools stay in their folder
	@rm -rf .venv .demarc build dist htmlcov .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .lint-imports.log
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

, := ,
