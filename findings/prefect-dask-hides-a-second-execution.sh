#!/usr/bin/env bash
# Prefect 3.9.1 on prefect-dask 0.3.7: a task whose worker process is killed runs again on another worker, unrecorded.
# Dask's scheduler reassigns it. Prefect's history of the task run has one Running, and run_count is 1, although the
# work was done twice, and the task allows no retry.
# Expected: a history that shows both executions, or a Crashed run.
set -euo pipefail
folder=$(mktemp -d)
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet prefect==3.9.1 'sqlalchemy==2.0.58' 'fastapi==0.150.0' prefect-dask==0.3.7 distributed==2026.8.0
export PREFECT_HOME="$folder/home" PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=CRITICAL
port=$("$folder/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PREFECT_API_URL="http://127.0.0.1:$port/api"
"$folder/venv/bin/prefect" server start --port "$port" > "$folder/server.log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$folder"' EXIT
for _ in $(seq 120); do
  "$folder/venv/bin/python" -c "import urllib.request; urllib.request.urlopen('$PREFECT_API_URL/health', timeout=1)" 2>/dev/null && break
  sleep 1
done
cat > "$folder/case.py" <<'PY'
import os
import signal
import sys
from pathlib import Path

import prefect
from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect_dask import DaskTaskRunner

WORK = Path(sys.argv[1])


@task
def book(path):
    with path.open("a") as file:
        file.write("booked\n")
    if len(path.read_text().splitlines()) == 1:
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory runs out


@flow(task_runner=DaskTaskRunner(cluster_kwargs={"n_workers": 2, "threads_per_worker": 1}))
def bookings():
    future = book.submit(WORK)
    future.wait()
    return future.state


if __name__ == "__main__":
    bookings(return_state=True)
    with get_client(sync_client=True) as client:
        (run,) = client.read_task_runs()
        states = [state.name for state in client.read_task_run_states(run.id)]
    print("prefect", prefect.__version__)
    print("executed:", len(WORK.read_text().splitlines()))
    print("run_count:", run.run_count, "states:", states)
PY
"$folder/venv/bin/python" "$folder/case.py" "$folder/work" 2> "$folder/err" | tee "$folder/seen" || { cat "$folder/err"; exit 1; }
# Seen:
#   prefect 3.9.1
#   executed: 2
#   run_count: 1 states: ['Pending', 'Running', 'Completed']
grep -qx "executed: 2" "$folder/seen"
grep -qx "run_count: 1 states: \['Pending', 'Running', 'Completed'\]" "$folder/seen"
