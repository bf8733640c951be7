# Everything a developer types. CI runs `lint` and `test`; nothing else is needed on a fresh clone.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

bin := .venv/bin
engine_sources := Cargo.toml Cargo.lock pyproject.toml .cargo/config.toml \
	$(shell find crates -name '*.rs' -o -name Cargo.toml)

# What the dashboard takes from npm; without npm there are no charts.
charts := src/ratbond/status/web/vendor/uPlot.esm.js

# pip's and uv's own settings on this machine must not change what gets installed.
unexport PIP_FIND_LINKS PIP_EXTRA_INDEX_URL UV_FIND_LINKS
# uv trusts the certificates that the system trusts.
export UV_SYSTEM_CERTS := true
export VIRTUAL_ENV := $(CURDIR)/.venv
export PATH := $(VIRTUAL_ENV)/bin:$(PATH):/usr/sbin:/sbin

.PHONY: build demo need-root soak test test-rust test-python test-no-offload lint fmt bench bench-throughput bench-engine fuzz lock clean help bootstrap-run bootstrap-dev bootstrap-bench bootstrap-throughput

build: $(VIRTUAL_ENV)/.built $(charts) ## make .venv with the command .venv/bin/ratbond and the release engine

$(VIRTUAL_ENV)/.built: $(engine_sources) | bootstrap-run
	$(bin)/uv pip install --quiet --no-deps --no-build-isolation --reinstall-package ratbond --editable .
	@touch $@

$(charts): package.json package-lock.json scripts/web
	@scripts/web

demo: | need-root build ## bond two emulated WANs on this machine and watch it (root)
	@$(bin)/python -m ratbond.lab.demo $(DEMO_FLAGS)

need-root:
	@[ "$$(id -u)" = 0 ] || { echo "demo: network namespaces need root; run 'make build', then: sudo $(bin)/python -m ratbond.lab.demo" >&2; exit 1; }

test: test-rust test-python ## install all it needs and run every test (as root also those in network namespaces)

test-rust: | bootstrap-dev
	cargo test --workspace --locked --quiet

# Most of it waits for links, so two at once; a file's tests in turn, since some share what they start.
pytest := $(bin)/pytest --numprocesses=2 --dist=loadfile

test-python: build | bootstrap-dev
	$(pytest)

test-no-offload: build | bootstrap-dev ## tests/net and tests/interop once more, all ends without segmentation offload (root)
	$(pytest) --no-offload tests/net tests/interop

lint: | bootstrap-dev ## formatting, lints, types, import contracts, house rules
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
	cargo clippy -p ratbond-proto --benches --features bench-null-cipher --locked --quiet -- -D warnings
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy
	PYTHONPATH=src $(bin)/lint-imports
	$(bin)/python scripts/check_repo.py

fmt: | bootstrap-dev ## format Rust and Python
	cargo fmt --all
	$(bin)/ruff check --fix-only --exit-zero --quiet
	$(bin)/ruff format

bench: build | bootstrap-bench ## ours against others on emulated links, into docs/benchmarks.md; BENCH_FLAGS="--quick" (root)
	PYTHONPATH=bench $(bin)/python -m scenarios $(BENCH_FLAGS)

bench-throughput: build | bootstrap-throughput ## full speed: ours, wireguard-go, OpenVPN, the offload limit; into docs/performance.md; BENCH_FLAGS="--quick" (root)
	cargo build --release --locked --quiet -p ratbond-io --example plain_tunnel
	PYTHONPATH=bench $(bin)/python -m throughput $(BENCH_FLAGS)

bench-engine: | bootstrap-run ## run the engine's own benchmarks
	cargo bench --workspace --locked --features ratbond-proto/bench-null-cipher

SOAK_MINUTES ?= 10
SOAK_PROTOCOL ?= kcp
soak: build ## flap two links under load for SOAK_MINUTES and look for what breaks or leaks (root)
	$(bin)/python bench/soak.py --minutes $(SOAK_MINUTES) --protocol $(SOAK_PROTOCOL)

FUZZ_SECONDS ?= 30
fuzz: | bootstrap-run ## run every fuzz entry point under libFuzzer, 30 s each (FUZZ_SECONDS=N)
	scripts/fuzz.sh $(FUZZ_SECONDS)

lock: | bootstrap-dev ## pin the dependencies anew (LOCK_FLAGS=--upgrade for the newest)
	scripts/lock $(LOCK_FLAGS)

bootstrap-run bootstrap-dev bootstrap-bench bootstrap-throughput: bootstrap-%:
	@scripts/bootstrap $*

clean: ## remove what was built, and .venv
	rm -rf .venv target build dist node_modules $(dir $(charts)) src/ratbond/_core.*.so
	find src tests scripts bench -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18
