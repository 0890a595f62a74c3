"""What OpenTelemetry costs: one call without it, with it installed, and after it was uninstalled, in one process.

    python tests/benchmarks/otel_cost.py [--calls 20000]

The tracer provider samples every span, and a batch processor drops them, so that no exporter is measured. Times are CPU
time, the least of seven rounds; a retried call fails once and waits for nothing. Compare the ratios, not the times.
"""

import argparse
import importlib.metadata
import logging
import time
from collections.abc import Callable

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from setting import machine, table

from resilient_tasks import Retry, resilient
from resilient_tasks.observe import otel

ROUNDS = 7
logging.getLogger("resilient_tasks").setLevel(logging.CRITICAL)


class Nowhere(SpanExporter):
    """Drops spans."""

    def export(self, spans: object) -> SpanExportResult:  # an exporter's signature
        return SpanExportResult.SUCCESS


@resilient(retry=Retry(attempts=3, wait=0))
def succeeds() -> int:
    return 1


_failed = False


@resilient(retry=Retry(attempts=3, wait=0))
def retried() -> int:
    global _failed  # noqa: PLW0603  # each other invocation fails
    _failed = not _failed
    if _failed:
        raise ConnectionError
    return 1


def microseconds(fn: Callable[[], object], calls: int) -> float:
    """Return the CPU time of one call."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(calls):
            fn()
        best = min(best, time.process_time() - began)
    return best / calls * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=20_000)
    calls = parser.parse_args().calls
    few = max(1, calls // 20)
    fns = {"a call that succeeds": (succeeds, calls), "a call that is retried once": (retried, few)}
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    before = {name: microseconds(fn, count) for name, (fn, count) in fns.items()}
    uninstall = otel.install(provider, MeterProvider([InMemoryMetricReader()]))
    during = {name: microseconds(fn, few) for name, (fn, _) in fns.items()}
    uninstall()
    after = {name: microseconds(fn, count) for name, (fn, count) in fns.items()}
    print(f"{machine()}, opentelemetry-sdk {importlib.metadata.version('opentelemetry-sdk')}")
    head = ("", "without, µs", "installed, µs", "ratio", "uninstalled: ratio")
    rows = [
        (
            name,
            f"{before[name]:.2f}",
            f"{during[name]:.1f}",
            f"{during[name] / before[name]:.1f}",
            f"{after[name] / before[name]:.2f}",
        )
        for name in fns
    ]
    print(table(head, rows, markdown=False))
    provider.shutdown()


if __name__ == "__main__":
    main()
