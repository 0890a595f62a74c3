"""The context of an attempt in another process: spans made there are below the attempt's span."""

from __future__ import annotations

from typing import Self

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach, get_current

from resilient_tasks.observe import otel
from resilient_tasks.observe.otel.harmless import harmless

#: Seconds for the export of what a function has recorded, before its process serves the next call.
_EXPORT = 5.0


class Carrier:
    """A picklable context, see `core.observing.Carrier`.

    Args:
        headers: as in a request: what the global propagator says, by default the trace and baggage.
    """

    def __init__(self, headers: dict[str, str]) -> None:
        self._headers = headers
        self._outside: Context | None = None

    @classmethod
    def of_this_context(cls) -> Self:
        """Return the present context."""
        headers: dict[str, str] = {}
        propagate.inject(headers)
        return cls(headers)

    @staticmethod
    def prepare() -> None:
        """Install OpenTelemetry here, if the environment says so."""
        otel.install_if_wanted()

    def __enter__(self) -> None:
        self._outside = get_current()
        self._attach()

    @harmless
    def _attach(self) -> None:
        attach(propagate.extract(self._headers))

    def __exit__(self, *_: object) -> None:
        attach(self._outside or Context())

    def finish(self) -> None:
        """Export the spans that were made here: the process may end without notice."""
        self._flush()

    @harmless
    def _flush(self) -> None:
        flush = getattr(trace.get_tracer_provider(), "force_flush", None)
        if flush is not None:
            flush(int(_EXPORT * 1000))
