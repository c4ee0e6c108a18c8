# Every one-liner of this project; `make` or `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
export PATH := $(CURDIR)/.uv/node/bin:$(PATH)
BIN := .venv/bin
PACKAGES := market ledger runtime bootstrap node
PYTHON_PATHS := $(PACKAGES) tests examples tools/ask_engine.py setup.py

# Tests that share one engine or start several nodes run one after the other; all others use both cores.
SERIAL := docker or processes or gpu or interop
PYTEST := $(BIN)/pytest -q
PARALLEL := -n 2 --dist loadfile

.PHONY: help setup setup-test demo check lint test unit property ports simulation integration bench bench-peers gas deep kills contracts format clean

help: ## list what can be asked for
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## make this machine ready: uv, the environment, a Docker Engine that answers
	@bash tools/setup.sh

setup-test:
	@bash tools/setup.sh test

demo: setup ## sell, run, pay and check one real job on a small market of five nodes (ARGS="--keep" leaves it up)
	@$(BIN)/cfab demo $(ARGS)

check: lint unit property ## all that needs no engine and no chain, before each push: under three minutes

lint: ## format, lint, types, import arrows
	$(BIN)/ruff format --check $(PYTHON_PATHS)
	$(BIN)/ruff check $(PYTHON_PATHS)
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup-test ## everything: unit, property, every port on its real adapter, simulation, integration with real nodes
	$(PYTEST) $(PARALLEL) -m "not ($(SERIAL))"
	$(PYTEST) -m "($(SERIAL)) and not gpu"

unit: ## one module at a time, no engine, no chain
	$(PYTEST) $(PARALLEL) tests/unit

property: ## rules that hold for every input Hypothesis can think of
	$(PYTEST) $(PARALLEL) tests/property

gpu: ## what needs an NVIDIA card: run it where there is one (no other target does)
	$(PYTEST) -m gpu

ports: setup-test ## each port's one suite, on the fake and on the real adapter
	$(PYTEST) tests/ports

simulation: ## many nodes in one process on a virtual clock
	$(PYTEST) $(PARALLEL) tests/simulation

integration: setup-test ## real engine, real chain, several node processes
	$(PYTEST) tests/integration

bench: setup-test ## measured figures, never asserted: matching, shortlist, intake, late-joiner, first-try, money, nodes (ARGS="first-try": one)
	@$(BIN)/python -m tests.bench $(ARGS)

bench-peers: ## our matching beside a published scheduler's own example, on one core (needs cargo)
	@$(BIN)/python -m tests.bench.peers

fuzz: setup-test ## a million random decisions: the native index against the one in Python and a judge (ARGS="--seed 8")
	@$(BIN)/python -m tests.bench fuzz $(ARGS)

build: ## wheel and source archive in dist/, as they would be published
	rm -rf build dist
	@uv=$$(PATH=$(CURDIR)/.uv/bin:$$PATH command -v uv) && $$uv build --quiet && ls -l dist

gas: ## what every call of the escrow costs, against goals and the file (ARGS="--write" writes the file anew)
	@$(BIN)/python -m tests.bench.gas_table $(ARGS)

deep: setup-test ## the escrow in depth: long histories, slither, halmos, mutants; takes minutes (ARGS="forge" for one)
	@$(BIN)/python -m tests.contracts.deep $(ARGS)

kills: setup-test ## kill -9 a provider and a requester at a hundred random moments; the sum stays exact (ARGS="20 7": moments, seed)
	@$(BIN)/python -m tests.integration.two_nodes $(ARGS)

contracts: setup-test ## compile the escrow anew and rewrite the shipped artifact
	$(BIN)/python tools/build_contracts.py

format: ## rewrite the code in house style
	$(BIN)/ruff format $(PYTHON_PATHS)
	$(BIN)/ruff check --fix $(PYTHON_PATHS)

clean: ## remove what was built or installed inside this checkout
	rm -rf .venv .uv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .grimp_cache .demo \
		tools/npm/node_modules tests/interop/js/node_modules .deep build dist *.egg-info market/*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
