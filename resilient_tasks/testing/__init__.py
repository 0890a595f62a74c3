"""Tools for tests: a virtual clock, recorded events, and servers on loopback that fail on request.

Only the standard library is imported until a `MailServer` starts, which needs the extra `testing`.
The pytest plugin offers these as fixtures (`resilient_clock`, `resilient_events`, `resilient_api`,
`resilient_slack`, `resilient_smtp`); they also work without pytest.
"""

from __future__ import annotations

from resilient_tasks.alerts.sender import flush as flush_messages
from resilient_tasks.testing.clock import VirtualClock, use_clock
from resilient_tasks.testing.events import RecordedEvents
from resilient_tasks.testing.faults import (
    Corrupt,
    Drip,
    Fault,
    Hang,
    Incomplete,
    Refused,
    Reset,
    Slow,
    Status,
    Truncate,
    break_csv,
    break_json,
)
from resilient_tasks.testing.http import FaultyServer, Request, Response, Served
from resilient_tasks.testing.isolation import away_from_people, deliver_to
from resilient_tasks.testing.slack import FakeSlack, SlackMessage
from resilient_tasks.testing.smtp import Mail, MailServer

__all__ = [
    "Corrupt",
    "Drip",
    "FakeSlack",
    "Fault",
    "FaultyServer",
    "Hang",
    "Incomplete",
    "Mail",
    "MailServer",
    "RecordedEvents",
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
    "away_from_people",
    "break_csv",
    "break_json",
    "deliver_to",
    "flush_messages",
    "use_clock",
]
