# ruff: noqa: INP001 - a script beside the pages, and no part of a package
"""Draws the picture of docs/opentelemetry.md: the spans of one real run on a time line.

    python docs/pictures/trace.py [--to docs/images/trace.svg]

It needs the extra `otel`, and takes two seconds.
"""

import argparse
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from resilient_tasks import Hedge, Retry, resilient
from resilient_tasks.observe import otel

ROOT = Path(__file__).resolve().parents[2]
WIDTH, LEFT, ROW, TOP = 860, 210, 30, 40
STYLE = """
  .page { fill: #ffffff } .call { fill: #c3d8f2 } .ok { fill: #9fd3a8 } .failed { fill: #f0a39c }
  .lost { fill: #d9dde3 } .made { fill: #e9dcf5 } .line { stroke: #c3ccd8 } .event { fill: #9a4b00 }
  text { fill: #1c2733; font: 13px system-ui, sans-serif } .small { font-size: 12px; fill: #52606f }
  @media (prefers-color-scheme: dark) {
    .page { fill: #14181d } .call { fill: #2b4a74 } .ok { fill: #2c6a38 } .failed { fill: #8a332b }
    .lost { fill: #414b57 } .made { fill: #513a66 } .line { stroke: #3b4754 } .event { fill: #f0a95c }
    text { fill: #e6ebf1 } .small { fill: #aab6c3 }
  }
"""


def recorded() -> list[ReadableSpan]:
    """Run a call that fails in one attempt, waits, and recovers with a hedged attempt; return its spans."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer, uninstall, over = provider.get_tracer("a client"), otel.install(provider), threading.Event()
    made = iter(range(3))

    @resilient(retry=Retry(attempts=3, wait=0.5), hedge=Hedge(0.3), timeout=2, idempotent=True)
    def fetch() -> str:
        number = next(made)
        with tracer.start_as_current_span("GET /flights"):
            time.sleep(0.2)
            if number == 0:
                raise ConnectionResetError("connection reset")
            if number == 1:
                over.wait(0.9)
            return "[]"

    fetch()
    uninstall()
    over.set()
    time.sleep(0.2)  # the attempt that was overtaken ends
    return sorted(exporter.get_finished_spans(), key=lambda span: span.start_time or 0)


def picture(spans: list[ReadableSpan]) -> str:
    """Return the drawing as SVG."""
    rows = [*in_order(spans, next(span for span in spans if span.parent is None))]
    height = TOP + ROW * len(rows) + 16
    lines = "".join(drawn(spans, rows))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
        f"<title>The spans of one call on a time line</title><style>{STYLE}</style>"
        f'<rect class="page" width="{WIDTH}" height="{height}"/>{lines}</svg>\n'
    )


def in_order(spans: list[ReadableSpan], span: ReadableSpan, depth: int = 0) -> Iterator[tuple[ReadableSpan, int]]:
    """Yield a span and those below it, with their depths."""
    yield span, depth
    for other in spans:
        if other.parent is not None and span.context is not None and other.parent.span_id == span.context.span_id:
            yield from in_order(spans, other, depth + 1)


def drawn(spans: list[ReadableSpan], rows: list[tuple[ReadableSpan, int]]) -> Iterator[str]:
    """Yield the scale, and each span as a bar with its events."""
    began = min(span.start_time or 0 for span in spans)
    ended = max(span.end_time or 0 for span in spans)
    scale = (WIDTH - LEFT - 30) / (ended - began)
    for tenths in range(0, int((ended - began) / 1e8) + 1, 5):
        x = LEFT + tenths * 1e8 * scale
        yield f'<line class="line" x1="{x:.0f}" x2="{x:.0f}" y1="{TOP - 8}" y2="{TOP + ROW * len(rows)}"/>'
        yield f'<text class="small" x="{x:.0f}" y="{TOP - 14}" text-anchor="middle">{tenths / 10:.1f} s</text>'
    for row, (span, depth) in enumerate(rows):
        y, x = TOP + ROW * row, LEFT + ((span.start_time or 0) - began) * scale
        width = max(3.0, ((span.end_time or 0) - (span.start_time or 0)) * scale)
        yield f'<text x="{14 + 18 * depth}" y="{y + 17}">{escape(span.name)}</text>'
        yield f'<rect class="{colour(span)}" x="{x:.0f}" y="{y + 3}" width="{width:.0f}" height="20" rx="3"/>'
        outcome = (span.attributes or {}).get("resilient_tasks.outcome", "")
        yield f'<text class="small" x="{x + 6:.0f}" y="{y + 17}">{escape(str(outcome))}</text>'
        for event in span.events:
            at, name = LEFT + (event.timestamp - began) * scale, escape(event.name)
            yield f'<circle class="event" cx="{at:.0f}" cy="{y + 23}" r="4"><title>{name}</title></circle>'


def colour(span: ReadableSpan) -> str:
    """Return the class of a span's bar."""
    if not span.name.endswith(" attempt"):
        return "call" if span.parent is None else "made"
    if span.status.status_code is StatusCode.ERROR:
        return "failed"
    return "ok" if (span.attributes or {}).get("resilient_tasks.outcome") == "ok" else "lost"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "images" / "trace.svg")
    logging.getLogger("resilient_tasks").setLevel(logging.CRITICAL)
    parser.parse_args().to.write_text(picture(recorded()), encoding="utf-8")
