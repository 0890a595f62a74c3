"""What a message says."""

from dataclasses import replace

import pytest

from resilient_tasks import Console
from resilient_tasks.alerts.message import Channel, Message, lasted

MESSAGE = Message(
    key="k-1",
    incident="k",
    operation="fetch_month",
    status="failed",
    kind="transient",
    error_type="ConnectError",
    error="refused",
    where="flights.py:12 in fetch_month",
    notes=("gave up after attempt 3",),
    consequence="What depends on it does not run.",
    run={"flow_run_id": "f-1", "url": "http://127.0.0.1/runs/f-1"},
)


def test_the_headline_says_what_happened():
    assert MESSAGE.headline() == "fetch_month failed: ConnectError"


def test_the_text_has_a_line_for_each_known_fact():
    assert MESSAGE.text().splitlines() == [
        "fetch_month failed: ConnectError",
        "refused",
        "flights.py:12 in fetch_month",
        "gave up after attempt 3",
        "What depends on it does not run.",
        "http://127.0.0.1/runs/f-1",
    ]
    bare = Message(key="k-1", incident="k", operation="f", status="degraded", kind="timeout", error_type="TimedOut")
    assert bare.text() == "f degraded: TimedOut"


def test_a_digest_says_how_many_more_in_which_flows_and_since_when():
    flows = ("nightly", "hourly", "backfill")
    digest = replace(MESSAGE, occasion="digest", count=412, total=1413, seconds=360.0, flows=flows)
    assert digest.text().splitlines() == [
        "fetch_month failed 412 more times: ConnectError",
        "412 more, 1,413 times in 6 min in 3 flows (nightly, hourly, backfill)",
        "last: refused",
        "http://127.0.0.1/runs/f-1",
    ]
    one = replace(MESSAGE, occasion="digest", count=1, total=2, seconds=10.0)
    assert one.headline() == "fetch_month failed 1 more time: ConnectError"


def test_a_first_message_after_a_silence_has_the_number_of_failures():
    assert replace(MESSAGE, count=20, total=20).headline() == "fetch_month failed 20 times: ConnectError"


def test_a_relapse_says_again():
    again = replace(MESSAGE, occasion="digest", count=2, total=5, relapse=True)
    assert again.headline() == "fetch_month failed again, 2 more times: ConnectError"


def test_a_recovery_says_that_it_works_again_and_how_often_it_failed():
    recovered = replace(MESSAGE, occasion="recovered", count=413, total=413, seconds=7300.0)
    assert recovered.text().splitlines() == [
        "fetch_month works again",
        "failed 413 times in 2 h: ConnectError",
        "http://127.0.0.1/runs/f-1",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (59, "59 s"), (118, "2 min"), (3600, "60 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_durations_are_written_as_people_say_them(seconds, said):
    assert lasted(seconds) == said


def test_the_console_writes_to_standard_error(capsys):
    console = Console()
    console.send(MESSAGE, within=1)
    assert capsys.readouterr().err.startswith("[alert] fetch_month failed: ConnectError\nrefused\n")
    assert isinstance(console, Channel)
    assert console.name == "console"
