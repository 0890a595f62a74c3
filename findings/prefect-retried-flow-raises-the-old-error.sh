#!/usr/bin/env bash
# Prefect 3.9.1: a flow with retries=1 fails on its first attempt and returns a Completed state with data on its second.
# The run is Completed, with that data. Calling the flow raises the error of the first attempt all the same.
# Expected: the data. A flow that returns the data itself, instead of a state, gives it.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet prefect==3.9.1 'sqlalchemy==2.0.58' 'fastapi==0.150.0'
export PREFECT_HOME="$folder/home" PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=CRITICAL
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=120
cat > "$folder/case.py" <<'PY'
import prefect
from prefect import flow
from prefect.states import Completed

attempts = {"state": 0, "data": 0}


def fail_once(kind):
    attempts[kind] += 1
    if attempts[kind] == 1:
        raise ValueError("first attempt")


@flow(retries=1)
def gives_a_state():
    fail_once("state")
    return Completed(message="all right now", data=42)


@flow(retries=1)
def gives_data():
    fail_once("data")
    return 42


print("prefect", prefect.__version__)
print("returns data:   ", gives_data())
attempts["state"] = 0
print("state of the run:", gives_a_state(return_state=True).type.value)
attempts["state"] = 0
try:
    print("returns a state:", gives_a_state())
    raise SystemExit("the behaviour has changed: the call returns")
except ValueError as error:
    print("returns a state: the call raises", repr(error), "after", attempts["state"], "attempts")
PY
"$folder/venv/bin/python" "$folder/case.py" 2> "$folder/err" | tee "$folder/seen" || { cat "$folder/err"; exit 1; }
# Seen:
#   prefect 3.9.1
#   returns data:    42
#   state of the run: COMPLETED
#   returns a state: the call raises ValueError('first attempt') after 2 attempts
grep -q "state of the run: COMPLETED" "$folder/seen"
grep -q "raises ValueError('first attempt') after 2 attempts" "$folder/seen"
