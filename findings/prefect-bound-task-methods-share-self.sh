#!/usr/bin/env bash
# Prefect 3.9.1: a task that is a method remembers the object that it was last read from, on the one shared task.
# get_a = a.name; get_b = b.name; get_a() then runs with b. Expected: what Python's own bound methods do.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet prefect==3.9.1 'sqlalchemy==2.0.58' 'fastapi==0.150.0'
export PREFECT_HOME="$folder/home" PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=CRITICAL
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=120
cat > "$folder/case.py" <<'PY'
import prefect
from prefect import task


class Source:
    def __init__(self, label):
        self.label = label

    @task
    def name(self):
        return self.label

    def plain(self):
        return self.label


a, b = Source("a"), Source("b")
print("prefect", prefect.__version__)
plain_a, plain_b = a.plain, b.plain
print("plain methods:", plain_a(), plain_b())
task_a, task_b = a.name, b.name
print("task methods: ", task_a(), task_b())
PY
"$folder/venv/bin/python" "$folder/case.py" 2> "$folder/err" | tee "$folder/seen" || { cat "$folder/err"; exit 1; }
# Seen:
#   prefect 3.9.1
#   plain methods: a b
#   task methods:  b b
grep -q "plain methods: a b" "$folder/seen"
grep -q "task methods:  b b" "$folder/seen"
