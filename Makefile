# Two commands matter: `make run` and `make test`. Each does all the set-up it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml setup.py tools/gen_proto.py tools/bootstrap $(shell find proto -name '*.proto') \
	$(wildcard native/*.pyx) $(wildcard native/csrc/*.c) $(wildcard native/csrc/*.h)
TESTS ?= tests
PYTEST_ARGS ?=
JOBS ?= 2
SECONDS ?= 180
SEED ?=

.PHONY: setup run test check fmt bench bench-shares bench-stream bench-gateway chaos screenshots clean

setup: $(VENV)/.ready  ## Make .venv with everything in it, and the page
	@tools/build_web || echo "setup: the page is not built (see above); everything else works without it"

$(VENV)/.ready: $(SOURCES)
	@PYTHON="$(PYTHON)" tools/bootstrap
	@touch $@

run: setup  ## A whole pool on regtest with CPU miners, and a live view
	@$(BIN)/lodepool demo

test: setup  ## Every test, on real servers that the tests start themselves; TESTS=path for some of them
ifeq ($(TESTS),tests)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(PYTEST_ARGS) --ignore=tests/e2e tests
	$(BIN)/python -m pytest $(PYTEST_ARGS) tests/e2e
else
	$(BIN)/python -m pytest $(PYTEST_ARGS) $(TESTS)
endif

check: setup  ## Style, types, import directions, of Python and of the page
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.gen_config_doc --check
	$(BIN)/python -m tools.gen_metrics_doc --check
	$(BIN)/python -m tools.gen_dashboard --check
	tools/build_web --check

fmt: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: bench-shares bench-stream bench-gateway  ## Every benchmark; each ends with one JSON object
	$(BIN)/python -m bench.hashing
	$(BIN)/python -m bench.pool
	$(BIN)/python -m bench.idle

bench-shares: setup  ## Shares per second on one core, against a server that only echoes
	$(BIN)/python -m bench.shares

bench-stream: setup  ## The share stream into slices: from PostgreSQL, from Kafka, and shared by two consumers
	$(BIN)/python -m bench.share_stream
	$(BIN)/python -m bench.share_stream --log kafka
	$(BIN)/python -m bench.share_stream --log kafka --consumers 2

bench-gateway: setup  ## Latency of the API over 20,000 workers, 90 days and 5,000 blocks; about three minutes
	$(BIN)/python -m bench.gateway

chaos: setup  ## Kill -9 every process of a cluster under load, lose nothing: make chaos SECONDS=180 SEED=7
	@$(BIN)/python -m tests.e2e.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

screenshots: setup  ## Every page in build/screenshots, checked for accessibility; needs chromium
	tools/build_web
	$(BIN)/python -m tools.screenshots

clean:
	rm -rf $(VENV) build dist *.egg-info native/_native.c native/*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find proto -name '*_pb2*' -delete
