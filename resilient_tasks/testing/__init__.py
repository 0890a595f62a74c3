"""Tools for tests: a virtual clock, recorded events, and servers on loopback that fail on request.

Only the standard library is imported until a `MailServer` starts, which needs the extra `testing`.
The pytest plugin offers these as fixtures (`resilient_clock`, `resilient_events`, `resilient_api`,
`resilient_slack`, `resilient_smtp`, `resilient_proxy`, `resilient_bucket`); they also work without pytest.
"""

from __future__ import annotations

from resilient_tasks.alerts.sender import flush as flush_messages
from resilient_tasks.testing.bucket import FaultyBucket
from resilient_tasks.testing.clock import VirtualClock, use_clock
from resilient_tasks.testing.databases import locked_sqlite
from resilient_tasks.testing.events import RecordedEvents
from resilient_tasks.testing.faults import (
    BrokenGzip,
    Corrupt,
    Drip,
    Fault,
    Hang,
    Incomplete,
    Overlong,
    RedirectLoop,
    Refused,
    Reset,
    Slow,
    Status,
    Truncate,
    WrongType,
    break_csv,
    break_json,
)
from resilient_tasks.testing.http import FaultyServer, Request, Response, Served
from resilient_tasks.testing.isolation import away_from_people, deliver_to
from resilient_tasks.testing.proxy import FaultyProxy
from resilient_tasks.testing.slack import FakeSlack, SlackMessage
from resilient_tasks.testing.smtp import Mail, MailServer

__all__ = [
    "BrokenGzip",
    "Corrupt",
    "Drip",
    "FakeSlack",
    "Fault",
    "FaultyBucket",
    "FaultyProxy",
    "FaultyServer",
    "Hang",
    "Incomplete",
    "Mail",
    "MailServer",
    "Overlong",
    "RecordedEvents",
    "RedirectLoop",
    "Refused",
    "Request",
    "Reset",
    "Response",
    "Served",
    "SlackMessage",
    "Slow",
    "Status",
    "Truncate",
    "VirtualClock",
    "WrongType",
    "away_from_people",
    "break_csv",
    "break_json",
    "deliver_to",
    "flush_messages",
    "locked_sqlite",
    "use_clock",
]
