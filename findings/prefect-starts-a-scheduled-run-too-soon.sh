#!/usr/bin/env bash
# Prefect 3.9.1: the server lets a run start up to half a second before its scheduled time.
# The time that is left is rounded to whole seconds: at 0.4 s the answer is ACCEPT, at 0.9 s it is "wait for 1 s".
# Expected: a run that is scheduled for a moment starts at that moment or later.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet prefect==3.9.1 'sqlalchemy==2.0.58' 'fastapi==0.150.0'
export PREFECT_HOME="$folder/home" PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=CRITICAL
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=120
cat > "$folder/case.py" <<'PY'
from datetime import UTC, datetime, timedelta

import prefect
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.states import Running, Scheduled


@flow
def report():
    pass


def answer(client, seconds):
    """Return what the server answers to a start so long before the scheduled time."""
    run = client.create_flow_run(report)
    due = datetime.now(UTC) + timedelta(seconds=seconds)
    client.set_flow_run_state(run.id, Scheduled(scheduled_time=due), force=True)
    response = client.set_flow_run_state(run.id, Running())
    early = datetime.now(UTC) < due
    return response.status.value, early


with get_client(sync_client=True) as client:
    answer(client, 0.0)  # the first requests take longer
    print("prefect", prefect.__version__)
    print("0.4 s too soon: {}, while it is early: {}".format(*answer(client, 0.4)))
    print("0.9 s too soon: {}, while it is early: {}".format(*answer(client, 0.9)))
PY
"$folder/venv/bin/python" "$folder/case.py" 2> "$folder/err" | tee "$folder/seen" || { cat "$folder/err"; exit 1; }
# Seen:
#   prefect 3.9.1
#   0.4 s too soon: ACCEPT, while it is early: True
#   0.9 s too soon: WAIT, while it is early: True
grep -qx "0.4 s too soon: ACCEPT, while it is early: True" "$folder/seen"
grep -qx "0.9 s too soon: WAIT, while it is early: True" "$folder/seen"
