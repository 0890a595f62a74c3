"""An application's set-up of OpenTelemetry, in each process: finished spans become lines of a file."""

import json
import os
import re
from pathlib import Path

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

#: In the environment: the file.
FILE = "SPANS_FILE"


class ToFile(SpanExporter):
    """Appends each span; a short line is written as a whole, also by several processes."""

    def export(self, spans):
        lines = [json.dumps({**json.loads(span.to_json()), "pid": os.getpid()}) + "\n" for span in spans]
        with open(os.environ[FILE], "a") as file:  # noqa: PTH123  # opened for each, by several processes
            file.write("".join(lines))
        return SpanExportResult.SUCCESS


def provider():
    """Return a provider whose spans go to the file."""
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(ToFile()))
    return made


def set_up():
    """Set this process's provider: what `RESILIENT_TASKS_OTEL` names."""
    trace.set_tracer_provider(provider())


def provider_here():
    """Return the kind of this process's provider, and the variable that says what sets it."""
    return type(trace.get_tracer_provider()).__name__, os.environ.get("RESILIENT_TASKS_OTEL")


class Spans:
    """The spans in the file."""

    def __init__(self):
        self.all = [json.loads(line) for line in Path(os.environ[FILE]).read_text().splitlines()]

    def named(self, name):
        return sorted((span for span in self.all if span["name"] == name), key=lambda span: span["start_time"])

    def of_run(self, kind, name):
        """Return the one span of Prefect's for a run of a task or flow."""
        [found] = [
            span for span in self.all if span["attributes"].get("prefect.run.type") == kind and name in span["name"]
        ]
        return found

    def below(self, span):
        return [other for other in self.all if other["parent_id"] == id_of(span)]


def id_of(span):
    return span["context"]["span_id"]


def trace_of(span):
    return span["context"]["trace_id"]


def status_of(span):
    return span["status"]["status_code"]


def events_of(span):
    return [event["name"] for event in span["events"]]


def drawn(spans, span):
    """Draw the tree below a span: names, status, and events except those of Prefect's states."""
    lines = list(_lines(spans, span))
    width = max(len(line) for line, _ in lines)
    return [f"{line:{width}}   {status_of(span):5}  {_ours(span)}".rstrip() for line, span in lines]


def _lines(spans, span, before="", inside=""):
    yield before + re.sub(r"-[0-9a-f]{3}$", "", span["name"]), span
    below = sorted(spans.below(span), key=lambda other: other["start_time"])
    for other in below:
        branch, further = ("└── ", "    ") if other is below[-1] else ("├── ", "│   ")
        yield from _lines(spans, other, inside + branch, inside + further)


def _ours(span):
    return " ".join(name for name in events_of(span) if "." in name or name == "exception")
