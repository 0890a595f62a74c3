#!/usr/bin/env bash
# Prefect 3.9.1: with OpenTelemetry set up in each process, the span of a task run in a ProcessPoolTaskRunner has no parent
# and a trace of its own. The run's own context is entered before its span is made, so it is taken for its own parent.
# The flow run's traceparent is there, in the labels of the flow run in the process.
# Expected: the span is in the trace of the flow run, as it is in a ThreadPoolTaskRunner.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet prefect==3.9.1 'sqlalchemy==2.0.58' 'fastapi==0.150.0' opentelemetry-sdk==1.45.2
export PREFECT_HOME="$folder/home" PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=CRITICAL
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=120 PYTHONPATH="$folder"
cat > "$folder/tasks.py" <<'PY'
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from prefect import task
from prefect.context import FlowRunContext

trace.set_tracer_provider(TracerProvider())


@task
def in_which_trace():
    labels = FlowRunContext.get().flow_run.labels
    return trace.get_current_span().get_span_context().trace_id, labels["__OTEL_TRACEPARENT"]
PY
cat > "$folder/case.py" <<'PY'
import prefect
from opentelemetry import trace
from prefect import flow
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

import tasks


def around():
    there, traceparent = tasks.in_which_trace.submit().result()
    here = trace.get_current_span().get_span_context().trace_id
    return there == here, f"{here:032x}" in traceparent


if __name__ == "__main__":
    print("prefect", prefect.__version__)
    for runner in (ThreadPoolTaskRunner, ProcessPoolTaskRunner):
        same, known = flow(task_runner=runner(max_workers=1))(around)()
        print(f"{runner.__name__}: in the trace of the flow run: {same}; the process knows that trace: {known}")
PY
"$folder/venv/bin/python" "$folder/case.py" 2> "$folder/err" | tee "$folder/seen" || { cat "$folder/err"; exit 1; }
# Seen:
#   prefect 3.9.1
#   ThreadPoolTaskRunner: in the trace of the flow run: True; the process knows that trace: True
#   ProcessPoolTaskRunner: in the trace of the flow run: False; the process knows that trace: True
grep -q "ThreadPoolTaskRunner: in the trace of the flow run: True" "$folder/seen"
grep -q "ProcessPoolTaskRunner: in the trace of the flow run: False; the process knows that trace: True" "$folder/seen"
