#!/usr/bin/env bash
# Prefect 3.9.1: while a run goes on, its deployment is deleted (here by the run itself, as a one-off does). The run ends as
# Completed with its data, and the server has no task run of it: before each event is sent, the client asks the server for
# the deployment, and throws the event away when there is none. Only a line in the log for each event says so.
# Expected: the task runs, without their relation to the deployment.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet prefect==3.9.1 'sqlalchemy==2.0.58' 'fastapi==0.150.0'
export PREFECT_HOME="$folder/home" PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=CRITICAL
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=120
cat > "$folder/case.py" <<'PY'
import time

import prefect
from prefect import flow, get_client, task
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.flow_engine import run_flow


@task
def double(number):
    return 2 * number


@flow
def once(delete):
    if delete:
        with get_client(sync_client=True) as own:
            own.delete_deployment(prefect.runtime.deployment.id)
    return double(21)


def task_runs(client, run):
    return client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run.id])))


print("prefect", prefect.__version__)
with get_client(sync_client=True) as client:
    flow_id = client.create_flow_from_name("once")
    runs = {}
    for name in ("deleted", "kept"):  # the events go in this order: once those of the second are there, so are the first's
        deployment_id = client.create_deployment(flow_id=flow_id, name=name)
        parameters = {"delete": name == "deleted"}
        runs[name] = client.create_flow_run_from_deployment(deployment_id, parameters=parameters)
        print(f"{name}: the call gives", run_flow(once, flow_run=runs[name], parameters=parameters))
    limit = time.monotonic() + 120
    while not task_runs(client, runs["kept"]) and time.monotonic() < limit:
        time.sleep(0.2)
    for name, run in runs.items():
        state = client.read_flow_run(run.id).state
        print(f"{name}: flow run {state.type.value}, task runs {len(task_runs(client, run))}")
PY
"$folder/venv/bin/python" "$folder/case.py" 2> "$folder/err" | tee "$folder/seen" || { cat "$folder/err"; exit 1; }
# Seen:
#   prefect 3.9.1
#   deleted: the call gives 42
#   kept: the call gives 42
#   deleted: flow run COMPLETED, task runs 0
#   kept: flow run COMPLETED, task runs 1
grep -q "^deleted: flow run COMPLETED, task runs 0" "$folder/seen"
grep -q "^kept: flow run COMPLETED, task runs 1" "$folder/seen"
