"""OpenTelemetry with exporters in memory."""

import json

import pytest


class Traced:
    """OpenTelemetry installed, with what it exported.

    Attributes:
        tracer: a tracer for the spans that a test's functions make themselves.
    """

    def __init__(self, provider, exporter, reader):
        self.tracer = provider.get_tracer("the application")
        self._exporter, self._reader = exporter, reader

    @property
    def spans(self):
        """The ended spans, in the order in which they began."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time)

    def named(self, name):
        return [span for span in self.spans if span.name == name]

    def metrics(self):
        """Return the points of each metric, by name."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        scopes = json.loads(data.to_json())["resource_metrics"][0]["scope_metrics"]
        return {metric["name"]: metric["data"]["data_points"] for scope in scopes for metric in scope["metrics"]}

    def counted(self, name):
        """Return the values of a counter, or the counts of a histogram, by the values of their attributes."""
        points = self.metrics()[name]
        return {tuple(point["attributes"].values()): point.get("value", point.get("count")) for point in points}


@pytest.fixture
def traced():
    """OpenTelemetry, installed for one test."""
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from resilient_tasks.observe import otel

    exporter, reader, provider = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    uninstall = otel.install(provider, MeterProvider([reader]))
    yield Traced(provider, exporter, reader)
    uninstall()
