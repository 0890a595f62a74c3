"""Everything that can happen to a call, one frozen dataclass each, and the bus that carries it to the sinks."""

from __future__ import annotations

from resilient_tasks.core.events.alerts import (
    NotifyFailed,
    NotifyKnown,
    NotifySent,
    NotifySuppressed,
)
from resilient_tasks.core.events.attempts import (
    CallFailed,
    ChaosInjected,
    FallbackUsed,
    HedgeStarted,
    HedgeWon,
    RetryExhausted,
    RetryMultiplied,
    RetryRecovered,
    RetryScheduled,
    RetryStarted,
    TimeoutExceeded,
)
from resilient_tasks.core.events.bus import (
    Bus,
    Sink,
    bus,
)
from resilient_tasks.core.events.event import (
    EVENTS,
    ErrorEvent,
    Event,
    identify_runs_by,
    run_ids,
)
from resilient_tasks.core.events.rows import (
    DataDrifted,
    RowsInvalid,
    RowsQuarantined,
    RowsWarned,
    frames_warned_of,
    in_the_quarantine,
    what_rules_warn_of,
    why_and_where,
)
from resilient_tasks.core.events.shared import (
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    BulkheadRejected,
    FlightAlone,
    FlightJoined,
    RateLimitReached,
    StoreLost,
    StoreRegained,
)
from resilient_tasks.core.wording import counted

__all__ = [
    "EVENTS",
    "BreakerClosed",
    "BreakerHalfOpened",
    "BreakerOpened",
    "BulkheadRejected",
    "Bus",
    "CallFailed",
    "ChaosInjected",
    "DataDrifted",
    "ErrorEvent",
    "Event",
    "FallbackUsed",
    "FlightAlone",
    "FlightJoined",
    "HedgeStarted",
    "HedgeWon",
    "NotifyFailed",
    "NotifyKnown",
    "NotifySent",
    "NotifySuppressed",
    "RateLimitReached",
    "RetryExhausted",
    "RetryMultiplied",
    "RetryRecovered",
    "RetryScheduled",
    "RetryStarted",
    "RowsInvalid",
    "RowsQuarantined",
    "RowsWarned",
    "Sink",
    "StoreLost",
    "StoreRegained",
    "TimeoutExceeded",
    "bus",
    "counted",
    "frames_warned_of",
    "identify_runs_by",
    "in_the_quarantine",
    "run_ids",
    "what_rules_warn_of",
    "why_and_where",
]
