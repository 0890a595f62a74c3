# Each target sets up what it needs in .venv: Python 3.11 or newer and a package index are enough.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check docs timeouts costs splitting chunks breakers hedging outage alerts-pictures storm everywhere clean

demo: $(READY)  ## The example: an ML flow keeps retraining while everything around it fails. `make demo SEED=2` meets other faults.
	$(BIN)/python examples/flight_times/run.py --seed $(or $(SEED),1)

test: $(READY)  ## All tests.
	$(BIN)/python -m pytest

check: $(READY)  ## Lint, formatting, types, and the direction of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

docs: $(READY)  ## The documentation as HTML, in out/docs.
	$(BIN)/sphinx-build -W -q docs out/docs
	@echo "out/docs/index.html"

timeouts: $(READY)  ## A limit of 1 s on 6 s of work of every sort, ours beside Prefect's own. Three minutes, on a quiet machine.
	$(BIN)/python tests/benchmarks/timeouts.py --page docs/measured.md --figure docs/images/timeouts.png

costs: $(READY)  ## What a resilient task costs in CPU time, beside Prefect's own and a control.
	$(BIN)/python tests/benchmarks/costs.py --page docs/measured.md

splitting: $(READY)  ## Good and bad rows of up to ten million, ours beside pandera, dataframely and a mask. Ten minutes, on a quiet machine.
	$(BIN)/python tests/benchmarks/splitting.py --page docs/measured.md --figure docs/images/splitting.png

chunks: $(READY)  ## 100 million generated rows split in chunks, under 2 GB of memory. A minute, and 1 GB of disk meanwhile.
	$(BIN)/python tests/benchmarks/chunks.py

breakers: $(READY)  ## What a closed breaker costs a call, beside four other libraries, and with each store. Two minutes, on a quiet machine.
	$(BIN)/python tests/benchmarks/breakers.py --page docs/measured.md

hedging: $(READY)  ## A slow tail on a real server, plain and hedged. A minute and a half, on a quiet machine.
	$(BIN)/python tests/benchmarks/hedging.py --page docs/measured.md

outage: $(READY)  ## 1,000 callers of an API that is down and slow to recover, simulated under five sets of policies. Two minutes.
	$(BIN)/python tests/benchmarks/outage.py --page docs/measured.md --figure docs/images/outage.png

alerts-pictures: $(READY)  ## What people see in Slack: pictures for docs/policies/notify.md. Two minutes, and a Chromium.
	$(BIN)/python docs/pictures/alerts.py

storm: $(READY)  ## 10,000 failures in a minute, and what people hear of it, beside Prefect's own hook. Three minutes, on a quiet machine.
	$(BIN)/python tests/benchmarks/storm.py --page docs/measured.md

everywhere:  ## The tests on every supported Python that this machine has.
	@for version in 3.11 3.12 3.13; do \
		if python$$version -c '' 2>/dev/null; then \
			echo "== Python $$version"; \
			$(MAKE) --no-print-directory test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
		else echo "== Python $$version is not here: skipped"; fi; \
	done

clean:
	rm -rf .venv .venv-* out .coverage .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	@echo "setting up $(VENV): a few minutes, the first time only"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[demo,dev]'
	@touch $@
