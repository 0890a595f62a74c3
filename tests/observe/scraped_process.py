"""A process whose metrics Prometheus scrapes: prints its port, and for each line on standard input makes one batch."""

import contextlib
import sys

from prometheus_client import start_http_server

from resilient_tasks import CircuitBreaker, Retry, resilient
from resilient_tasks.core import events as e
from resilient_tasks.core.events import bus
from resilient_tasks.observe import prometheus
from resilient_tasks.testing import VirtualClock, use_clock

ERROR = {"error_type": "HTTPError", "message": "", "http_status": 503}
ROWS = {"rows": 9, "invalid": 2, "reasons": {"le(60)": 2}}


def calling(failures, **options):
    @resilient(retry=Retry(attempts=3, wait=2), **options)
    def fetch(left=[failures]):  # noqa: B006  # the number that is left
        left[0] -= 1
        if left[0] >= 0:
            raise ConnectionError("refused")

    with contextlib.suppress(ConnectionError):
        fetch()


def batch(number):
    """Make 2 calls that recover, 3 that are degraded, 5 that fail, and one event of each other kind."""
    for failures in (1, 2):
        calling(failures)
    for _ in range(3):
        calling(9, fallback=lambda: 0)
    for _ in range(5):
        calling(9)
    CircuitBreaker("api").open(3600)
    about = {"operation": "load"}
    for event in (
        e.RetryMultiplied(attempts=15, loops=("flow", "load"), **about),
        e.TimeoutExceeded(policy="timeout", limit=2.0, stopped=False, abandoned=True, **about),
        e.BreakerClosed(breaker="warehouse", reason="", seconds=40.0, **about),
        e.RateLimitReached(limit="api", refused=False, delay=3.0, **about),
        e.RateAdapted(limit="api", rate_before=9.0, rate=5.0, per=2.0, pause=0.0, reason="", **about),
        e.BulkheadRejected(bulkhead="warehouse", limit=3, queued=0, reason="", **about),
        e.BreakerWouldRefuse(breaker="watched", state="open", **about),
        e.FlightJoined(leader="7", outcome="ok", waited=1.0, **about),
        e.FlightAlone(reason="", **about),
        e.HedgeStarted(number=2, after=0.2, **about),
        e.HedgeWon(number=2, seconds=0.4, **about),
        e.StoreLost(store="redis://127.0.0.1:6379/0", message="", **about),
        e.ApiAway(api="", back=False, late=3, lost=2, seconds=40.0, **about),
        e.FallbackUsed(fallback="last good", kind="transient", age=7200.0, since=1.0, **ERROR, **about),
        e.LastGoodUnavailable(action="read", reason="", **about),
        e.RowsInvalid(action="warned", **ROWS, **about),
        e.RowsQuarantined(action="quarantined", path=f"part-{number}", batch="", schema="", **ROWS, **about),
        e.RowsWarned(rows=9, reasons={"le(60)": 4}, **about),
        e.DataDrifted(action="warn", rows=9, columns={}, message="", **about),
        e.InputDegraded(source="load", reason="load (a fallback)", **about),
        e.ChaosInjected(fault="ConnectionError", **about),
        e.NotifySent(channel="email:ann@example.com", **about),
        e.NotifySuppressed(channel="slack:#ml", suppressed=3, **about),
        e.NotifyFailed(channel="slack:#ml", retry_in=4.0, **ERROR, **about),
    ):
        bus.emit(event)


def broken(event):
    raise OSError("no space left on device")


if __name__ == "__main__":
    prometheus.install()
    bus.subscribe(broken, name="journal")
    server, _ = start_http_server(0, addr="127.0.0.1", registry=prometheus.registry())
    print(server.server_port, flush=True)  # noqa: T201  # the test reads it
    with use_clock(VirtualClock()):
        for line, _ in enumerate(sys.stdin):
            batch(line)
            print("done", flush=True)  # noqa: T201  # as above
