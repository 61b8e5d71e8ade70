# All there is to do here. Everything runs in .venv, which `setup` makes from the hash-locked requirements.txt.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := libs/events libs/tasks libs/agents libs/service services/api services/worker services/stream-gateway deploy/local
PYPROJECTS := $(addsuffix /pyproject.toml,$(PACKAGES))

APART := (compose or k8s or monitoring)
# Tests that need more than a bare machine: each has a target.

.PHONY: help setup demo dev model test test-all k8s dashboards compose-test k8s-test monitoring-test lint format lock bench clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 18

setup: .venv/ready ## make .venv with everything that runs, tests and checks need

.venv/ready: requirements.txt pyproject.toml $(PYPROJECTS)
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version)'
	@$(PYTHON) -m venv .venv || (rm -rf .venv; echo "python3 lacks venv: on Debian, apt-get install python3-venv" >&2; exit 1)
	@echo "installing into .venv …"
	@$(BIN)/pip install --disable-pip-version-check --quiet --require-hashes --no-deps -r requirements.txt
	@$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation $(addprefix -e ,$(PACKAGES))
	@touch $@

demo: setup ## one task through every hop on an embedded store: watch, drop, resume, check
	@$(BIN)/python -m runcast_local demo

dev: setup ## the whole stack on http://localhost:8080, until Ctrl-C
	@$(BIN)/python -m runcast_local up

model: setup ## a stub of a model for llm agents on http://127.0.0.1:8090/v1: docs/models.md
	@$(BIN)/python -m runcast_local.model $(ARGS)

test: setup lint ## checks and tests; at most 6 minutes on 2 cores
	@$(BIN)/pytest -n 2 --dist worksteal -m "not full and not $(APART)" $(ARGS)

test-all: setup lint ## the same with the full figures
	@$(BIN)/pytest -n 2 --dist worksteal -m "not $(APART) and not alone" $(ARGS)
	@$(BIN)/pytest -m "alone and not $(APART)" $(ARGS)

k8s: setup ## make anew what deploy/k8s takes from routes, agents, alerting rules and dashboards
	@$(BIN)/python -m deploy.k8s.generator

k8s-test: setup .venv-k8s/ready ## build deploy/k8s and hold it to schemas and rules (needs kubectl or kustomize)
	@$(BIN)/pytest -n 2 --dist worksteal tests/k8s $(ARGS)

# The API's schemas of thirteen releases are 108 MB: not for everybody who sets up.
.venv-k8s/ready: tests/k8s/requirements.txt
	@$(PYTHON) -m venv .venv-k8s
	@.venv-k8s/bin/pip install --disable-pip-version-check --quiet --require-hashes --no-deps -r $<
	@touch $@

compose-test: setup ## the stack of deploy/docker-compose.yml: the tour, and every service killed, restarted, replaced
	@$(BIN)/pytest -m compose -s tests/compose $(ARGS)

monitoring-test: setup ## dashboards and alerts on a real Prometheus over a real stack; needs Debian's prometheus, 12 minutes
	@$(BIN)/pytest -m monitoring tests/monitoring $(ARGS)

dashboards: setup ## write Grafana's dashboards anew from deploy/grafana/runcast_dashboards
	@PYTHONPATH=deploy/grafana $(BIN)/python -m runcast_dashboards

lint: setup ## ruff and mypy, both strict
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## what ruff can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## the gateway beside its peers; how to read it, and the other benchmarks: benchmarks/README.md
	@$(BIN)/python -m benchmarks.gateway $(ARGS)

LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header \
  --quiet $(foreach p,agents api events gateway local service tasks worker,--no-emit-package runcast-$(p))

lock: ## resolve requirements.txt anew, and from it what the image installs (needs uv)
	$(LOCK) pyproject.toml -o requirements.txt
	$(LOCK) -c requirements.txt --extra otlp $(wildcard services/*/pyproject.toml) libs/service/pyproject.toml -o deploy/requirements.txt
	echo hatchling | $(LOCK) -c requirements.txt - -o deploy/requirements-build.txt
	echo 'kubernetes-validate>=1.37' | $(LOCK) - -o tests/k8s/requirements.txt

clean: ## remove what setup and tests made
	rm -rf .venv .venv-k8s .pytest_cache .mypy_cache .ruff_cache .hypothesis
