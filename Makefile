# Each target installs what it needs into .venv first: Python 3.11 or newer and a package index are enough.
PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
# What a target needs: the demo needs no tools for checks and tests.
FOR_DEMO := $(VENV)/.for-demo
FOR_DEV := $(VENV)/.for-dev
FOR_KINDS := $(VENV)/.for-kinds
FOR_BENCH := $(VENV)/.for-bench
CLIENTS := tests/benchmarks/kinds/requirements.txt
PEERS := tests/benchmarks/bench/requirements.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start hundreds of interpreters: without bytecode files, each would compile Prefect again.
export PYTHONDONTWRITEBYTECODE :=
# The number of processes that run the tests; conftest.py decides which tests stay together.
WORKERS ?= 3
SHARED := -n $(WORKERS) --dist loadgroup

.DEFAULT_GOAL := help
.PHONY: help demo test fast check docs bench timeouts splitting chunks breakers hedging outage alerts-pictures report-pictures prefect-pictures sinks rehearsal rehearsal-without rough storm remote kinds client-retries \
	secrets everywhere flights-everywhere promotion-rates with-prefect prefect-3.8 lowest mutation clean

help:  ## This list.
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(FOR_DEMO)  ## The example: an ML flow keeps retraining while everything around it fails. Two minutes. SEED=2: other faults.
	$(BIN)/python examples/flight_times/run.py --seed $(or $(SEED),1)

test: $(FOR_DEV)  ## All tests, in three processes: many tests wait. WORKERS=8 where there are more cores.
	$(BIN)/python -m pytest $(SHARED)

fast: $(FOR_DEV)  ## The tests that start no process, need no Prefect and wait for no slow server: under 90 seconds.
	$(BIN)/python -m pytest $(SHARED) --fast tests

check: $(FOR_DEV)  ## Lint, formatting, types, and the direction of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory typed

docs: $(FOR_DEV)  ## The documentation as HTML, in out/docs.
	$(BIN)/sphinx-build -W -q docs out/docs
	@echo "out/docs/index.html"

bench:  ## The cost of each part beside 13 libraries and hand-written code, and the goals. Five minutes, on a quiet machine.
	@$(MAKE) --no-print-directory .venv-bench/.for-bench VENV=.venv-bench
	PYTHONPATH=. .venv-bench/bin/python tests/benchmarks/bench_table.py --page docs/measured.md --figure docs/images/bench.png $(OPTIONS)

timeouts: $(FOR_DEV)  ## A limit of 1 s on 6 s of work of every kind, beside Prefect's own timeout. Three minutes, on a quiet machine.
	$(BIN)/python tests/benchmarks/timeouts.py --page docs/measured.md --figure docs/images/timeouts.png

splitting: $(FOR_DEV)  ## Splitting up to ten million rows, beside pandera, dataframely and a mask; the cost of bad rows. Ten minutes, on a quiet machine.
	$(BIN)/python tests/benchmarks/splitting.py --page docs/measured.md --figure docs/images/splitting.png

chunks: $(FOR_DEV)  ## Splitting 100 million generated rows in chunks, under 2 GB of memory. A minute, and 1 GB of disk.
	$(BIN)/python tests/benchmarks/chunks.py

breakers: $(FOR_DEV)  ## The cost of a closed breaker for a call, with each shared store. Half a minute, on a quiet machine.
	$(BIN)/python tests/benchmarks/breaker_stores.py --page docs/measured.md

hedging: $(FOR_DEV)  ## A slow tail on a real server, plain and hedged. A minute and a half, on a quiet machine.
	$(BIN)/python tests/benchmarks/hedging.py --page docs/measured.md

outage: $(FOR_DEV)  ## A simulated outage: 1,000 callers of an API that is slow to recover, with five sets of policies. Two minutes.
	$(BIN)/python tests/benchmarks/outage.py --page docs/measured.md --figure docs/images/outage.png

alerts-pictures: $(FOR_DEV)  ## Pictures of Slack messages for docs/policies/notify.md. Two minutes; needs Chromium.
	$(BIN)/python docs/pictures/alerts.py

report-pictures: $(FOR_DEV)  ## Pictures of the run report's page for docs/report.md. Half a minute; needs Chromium.
	$(BIN)/python docs/pictures/report_page.py

prefect-pictures: $(FOR_DEV)  ## Pictures of Prefect's UI for docs/prefect.md. A minute; needs Chromium.
	$(BIN)/python docs/pictures/prefect_ui.py

promotion-rates: $(FOR_DEV)  ## How often the example promotes an equally good or a better model, in simulated weeks. Half a minute.
	$(BIN)/python tests/benchmarks/promotion_rates.py --page docs/flight-times.md

flights-everywhere: $(FOR_DEV)  ## The example on threads, Dask and Ray, with three stores: the same result. Ten minutes. Ray and Redis if installed.
	$(BIN)/python tests/benchmarks/everywhere_flights.py --page docs/flight-times.md

rehearsal: $(FOR_DEMO)  ## A month of the example under five injected faults, beside the same month without. A minute and a half.
	cd examples/flight_times && ../../$(BIN)/resilient-tasks rehearse rehearsed.py:month --runs $(or $(RUNS),5)

rehearsal-without: $(FOR_DEMO)  ## The same month as it is, without its validation, without a timeout, and wrongly declared idempotent. Four minutes.
	$(BIN)/python tests/benchmarks/rehearsed_without.py

rough: $(FOR_DEMO)  ## The example on a busy machine: its process stops eight times for 4 s, beside six busy loops. Ten minutes. SEED=2 as above.
	$(BIN)/python tests/benchmarks/rough.py --seed $(or $(SEED),1) --busy 6

storm: $(FOR_DEV)  ## 10,000 failures in a minute, and the alerts about them, beside Prefect's own hook. Three minutes, on a quiet machine.
	$(BIN)/python tests/benchmarks/storm.py --page docs/measured.md

sinks: $(FOR_DEV)  ## The CPU time of all sinks (log, event files, OpenTelemetry, Prometheus) in the example. Ten minutes, on a quiet machine.
	$(BIN)/python tests/benchmarks/sinks_cost.py --rounds 3

remote: $(FOR_DEV)  ## Twenty flows whose server is away for 20 s, and how each ends. Five minutes.
	$(BIN)/python tests/benchmarks/remote.py

kinds:  ## Real errors of real clients, and the kind that each gets. Three minutes. OPTIONS=--wrong: only the wrong ones.
	@$(MAKE) --no-print-directory .venv-kinds/.for-kinds VENV=.venv-kinds
	PYTHONPATH=. .venv-kinds/bin/python tests/benchmarks/kinds_table.py --page docs/measured.md $(OPTIONS)

client-retries:  ## How often clients send a write by themselves, where its reply is lost or the service is busy. Ten minutes.
	@$(MAKE) --no-print-directory .venv-kinds/.for-kinds VENV=.venv-kinds
	PYTHONPATH=. .venv-kinds/bin/python tests/benchmarks/client_retries.py --page docs/measured.md

secrets: $(FOR_DEV)  ## Thousands of generated secrets: leaks through redaction, and false positives. A minute.
	$(BIN)/python tests/benchmarks/secrets/measure.py --page docs/measured.md

everywhere:  ## The tests on every supported Python that is installed.
	@for version in 3.11 3.12 3.13; do \
		if python$$version -c '' 2>/dev/null; then \
			echo "== Python $$version"; \
			$(MAKE) --no-print-directory test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
		else echo "== Python $$version is not here: skipped"; fi; \
	done

with-prefect: $(FOR_DEV)  ## The tests with Prefect.
	$(BIN)/python -m pytest $(SHARED) tests/with_prefect

prefect-3.8:  ## The same tests and the demo, with the oldest supported Prefect.
	$(MAKE) --no-print-directory with-prefect demo VENV=.venv-prefect-3.8 CONSTRAINTS=constraints-prefect-3.8.txt

# The pins without these: of them uv takes the lowest that pyproject.toml allows.
DATA_LIBRARIES := numpy pandas polars polars-runtime-32 pyarrow
lowest:  ## The tests of data, with the lowest numpy, pandas, polars and pyarrow that are allowed. Five minutes.
	@$(MAKE) --no-print-directory .venv-lowest/.for-lowest VENV=.venv-lowest
	.venv-lowest/bin/python -m pytest $(SHARED) tests/validation tests/chunks tests/quarantine tests/policies/test_validate*.py docs/data.md docs/quarantine.md

mutation: $(FOR_DEV)  ## The mutants of the code that no test kills: FILES=resilient_tasks/policies/retry SAMPLE=200. At first, ten minutes more.
	PYTHONPATH=. $(BIN)/python tests/benchmarks/mutation.py $(or $(FILES),resilient_tasks/policies) --sample $(or $(SAMPLE),200) $(OPTIONS)

clean:
	rm -rf .venv .venv-* out .coverage .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(VENV)/.for-lowest: pyproject.toml constraints.txt | $(BIN)/python
	grep -vxE '($(subst $() ,|,$(strip $(DATA_LIBRARIES))))==.*' constraints.txt > $(VENV)/pins.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --resolution lowest-direct -c $(VENV)/pins.txt -e '.[demo,dev]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(FOR_DEMO): EXTRAS := demo
$(FOR_DEV): EXTRAS := demo,dev
$(FOR_DEMO) $(FOR_DEV): pyproject.toml $(CONSTRAINTS)
# The clients have their own pins, and the library is taken from the work tree.
$(FOR_KINDS): WANTED := -r $(CLIENTS)
$(FOR_KINDS): FROM :=
$(FOR_KINDS): $(CLIENTS)
# The peers have their own pins, in addition to all others.
$(FOR_BENCH): EXTRAS := demo
$(FOR_BENCH): WANTED = -e '.[$(EXTRAS)]' -r $(PEERS)
$(FOR_BENCH): pyproject.toml $(CONSTRAINTS) $(PEERS)
$(FOR_DEMO) $(FOR_DEV) $(FOR_KINDS) $(FOR_BENCH): | $(BIN)/python
	@echo "installing $(WANTED) into $(VENV) with uv: about a minute, the first time only"
	@$(BIN)/python -m pip install --quiet $(FROM) uv && $(BIN)/uv pip install --python $(BIN)/python $(FROM) $(WANTED) \
		|| { echo "uv could not: installing with pip, which takes up to ten minutes"; $(WITH_PIP); }
	@touch $@

# uv takes seconds where pip takes minutes. It does not read pip's configuration: if that names a private index, the
# installation falls back to pip.
FROM = -c $(CONSTRAINTS)
WANTED = -e '.[$(EXTRAS)]'
WITH_PIP = { while sleep 20; do echo "... $$(date +%T), pip is at work"; done & }; beat=$$!; \
	$(BIN)/python -m pip install $(FROM) $(WANTED); code=$$?; kill $$beat; exit $$code

# For releases: the public API, its types, and the wheel.
.PHONY: api typed wheel
SINCE ?=
api: $(FOR_DEV)  ## Breaks of public names and signatures since the newest tag, or since SINCE=COMMIT.
	$(BIN)/python tests/public_api.py $(SINCE)

typed: $(FOR_DEV)  ## Check that type checkers agree on the type of every public name: 100 %.
	@mkdir -p out
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/basedpyright --verifytypes resilient_tasks --ignoreexternal > out/typed.txt \
		&& grep "completeness score" out/typed.txt || { cat out/typed.txt; exit 1; }

wheel: $(FOR_DEV)  ## Build the wheel in out/dist, and test it in an empty environment. OPTIONS="--python 3.13" or --lowest.
	$(BIN)/python tests/wheel.py $(OPTIONS)
