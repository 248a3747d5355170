# Everything a checkout of tierfs needs: `make help` lists the targets.
# PYTHON=/path/to/python3 chooses the interpreter (3.11 or newer); else the first good one is found.
# SYSTEM_PACKAGES=, TEST_PACKAGES=, BENCH_PACKAGES= and FUZZ_PACKAGES= (empty) leave the system
# alone, where apt is not to be used. CONSTRAINTS=.ci/constraints.txt installs the versions that CI has.

PYTHON ?=
SYSTEM_PACKAGES ?= fuse3 libfuse3-dev pkg-config gcc libc6-dev
TEST_PACKAGES ?= attr acl jq curl iproute2 e2fsprogs xfsprogs rsync git fio stress-ng strace sqlite3 tar gcc bindfs postgresql prometheus systemd groff-base tmux
BENCH_PACKAGES ?= mergerfs bindfs
ON_A_MOUNT := tests/mount tests/model/test_mount.py tests/concurrency tests/crash
FUZZ_PACKAGES ?= clang libclang-rt-dev
SECONDS ?= 600
# One more than there are cores: many tests wait.
JOBS ?= $(shell expr $$(nproc) + 1)
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# A file's tests stay in one process: they share a mount. tests/conftest.py puts the long files first.
PARALLEL = $(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder
export PYTHON SYSTEM_PACKAGES CONSTRAINTS

.DEFAULT_GOAL := help
.PHONY: help setup setup-test check format docs test test-both demo bench sanitize fuzz dist deb clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: .venv/.ready ## install what is missing: system packages, .venv, tierfs in it

setup-test: .venv/.ready-test ## setup, and the programs that the tests run on a mount

check: setup ## formatting, lint, types, import layers; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## format the code and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/.ready-docs ## the documentation as a site in build/site; fails for a link that leads nowhere
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --config-file .mkdocs.yml

test: setup-test ## the whole test suite, in JOBS processes; ARGS="-k name" narrows it, to one process
ifeq ($(ARGS),)
	$(PARALLEL) -m "not alone"
	$(PYTEST) -m alone
else
	$(PYTEST) $(ARGS)
endif

test-both: test ## the whole suite, then what meets the handlers once more without the fast path
	TIERFS_TEST_FASTPATH=0 $(PARALLEL) $(ON_A_MOUNT) -m "not once and not alone"
	TIERFS_TEST_FASTPATH=0 $(PYTEST) $(ON_A_MOUNT) -m "alone and not once"

demo: setup ## what tierfs gains on a simulated disk, with real files, every byte compared
	$(BIN)/python -m tests.benchmarks.demo $(ARGS)

bench: .venv/.ready-bench ## the acceptance run beside mergerfs and bindfs, as root; ARGS="--only epoch" narrows it
	$(BIN)/python -m tests.benchmarks suite $(ARGS)

sanitize: setup-test ## the fast path's tests under AddressSanitizer and UndefinedBehaviorSanitizer, then ThreadSanitizer
	.ci/sanitize address $(ARGS)
	.ci/sanitize thread $(ARGS)

fuzz: .venv/.ready-fuzz ## libFuzzer on the fast path's parser; SECONDS=600
	.ci/fuzz $(SECONDS) $(ARGS)

dist: ## sdist and wheel in dist/
	.ci/dist

deb: ## a Debian package for this release of Debian or Ubuntu, in dist/
	.ci/deb

clean: ## remove all that these targets made in the checkout
	rm -rf .venv build dist tierfs.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find tierfs tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps: set-up runs again only when what it depends on has changed.
.venv/.ready: pyproject.toml .ci/setup $(wildcard tierfs/native/src/*)
	.ci/setup venv
	@touch $@

.venv/.ready-test: .venv/.ready
	.ci/setup packages $(TEST_PACKAGES)
	@touch $@

.venv/.ready-docs: .venv/.ready
	.ci/setup docs
	@touch $@

.venv/.ready-bench: .venv/.ready
	.ci/setup packages $(BENCH_PACKAGES)
	@touch $@

.venv/.ready-fuzz: .venv/.ready
	.ci/setup packages $(FUZZ_PACKAGES)
	@touch $@
