#!/usr/bin/env bash
# Prefect 3.9.1: a task that raises a TimeoutError, or exceeds timeout_seconds, never ends its OpenTelemetry span.
# The span is not exported; spans below it refer to a parent that no backend ever gets.
# Expected: the span ends with the status ERROR, as that of a task that raises any other error.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet prefect==3.9.1 'sqlalchemy==2.0.58' 'fastapi==0.150.0' opentelemetry-sdk==1.45.2
export PREFECT_HOME="$folder/home" PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=CRITICAL
export PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS=120
cat > "$folder/case.py" <<'PY'
import prefect
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prefect import flow, task

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)


@task
def refused():
    raise ConnectionError("refused")


@task
def too_slow():
    raise TimeoutError("too slow")


@flow
def around():
    refused(return_state=True)
    too_slow(return_state=True)


around(return_state=True)
print("prefect", prefect.__version__)
names = [span.name for span in exporter.get_finished_spans() if span.attributes["prefect.run.type"] == "task"]
for task in ("refused", "too_slow"):
    print(task, "has a span:", any(name.startswith(task) for name in names))
PY
"$folder/venv/bin/python" "$folder/case.py" 2> "$folder/err" | tee "$folder/seen" || { cat "$folder/err"; exit 1; }
# Seen:
#   prefect 3.9.1
#   refused has a span: True
#   too_slow has a span: False
grep -q "refused has a span: True" "$folder/seen"
grep -q "too_slow has a span: False" "$folder/seen"
