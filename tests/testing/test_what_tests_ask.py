"""Wrong arguments of the servers and the clock are refused at the call, with what to write instead."""

from datetime import timedelta

import pytest

from resilient_tasks import PolicyError
from resilient_tasks.testing import (
    Corrupt,
    Drip,
    FakeSlack,
    FaultyServer,
    Hang,
    Incomplete,
    MailServer,
    RecordedEvents,
    Reset,
    Slow,
    Status,
    Truncate,
    VirtualClock,
    flush_messages,
    use_clock,
)

API = FaultyServer()  # never started: no network
SLACK = FakeSlack()
MAIL = MailServer()

REFUSED = [
    (lambda: API.fail(503), "write fail(Status(503)), or down() for one 503"),
    (lambda: API.fail("503"), "write fail(Status(503))"),
    (lambda: API.fail(404), "write fail(Status(404))"),
    (lambda: API.fail(3), "write down(3) for 3 answers of 503"),
    (API.fail, "fail() needs a fault: write fail(Status(503))"),
    (lambda: API.fail(Status), "write fail(Status(...))"),
    (lambda: API.fail([Status(503)]), "write fail(*faults)"),
    (lambda: API.fail(ConnectionError), "write fail(Reset())"),
    (lambda: API.fail(ConnectionError("no route")), "write fail(Reset())"),
    (lambda: API.fail(lambda request: None), "write fail_by(...)"),
    (lambda: API.fail(True), "write fail(Status(503))"),
    (lambda: API.fail(times=1, status=503), "fail has no argument 'times': it takes *faults, path="),
    (lambda: API.fail_by(Status(503)), "functions of the request"),
    (lambda: API.fail_by(Status), "functions of the request"),
    (lambda: API.down("2"), "write down(times=2)"),
    (lambda: API.down(2.5), "write down(times=2)"),
    (lambda: API.down(True), "a number of requests"),
    (lambda: API.down(-1), "a number of requests"),
    (lambda: API.down(503), "for the status 503 write fail(Status(503))"),
    (lambda: API.down(None), "a number of requests"),
    (lambda: API.down(count=2), "down has no argument 'count': did you mean times=?"),
    (lambda: API.down(2, "/flights"), "write down(2, path='/flights')"),
    (lambda: API.down(path="flights"), "a path begins with a slash; write '/flights'"),
    (lambda: API.down(path="http://127.0.0.1:80/flights"), "write '/flights'"),
    (lambda: API.down(path="/flights?month=07"), "a path has no query here; write '/flights'"),
    (lambda: API.down(path=5), "is a path such as '/flights'"),
    (lambda: API.slow("2"), 'write 2 or "2s"'),
    (lambda: API.slow(-1), "seconds from 0 up"),
    (lambda: API.slow(1, "3"), "write slow(times=3)"),
    (API.slow, "missing a required argument: 'seconds'; write server.slow(2, times=3)"),
    (lambda: API.hangs("soon"), "seconds from 0 up"),
    (lambda: API.rate_limited("2"), "write rate_limited(times=2)"),
    (lambda: API.rate_limited(429), "for the status 429"),
    (lambda: API.rate_limited(2, [1]), "a number of seconds, or a text to send as it is"),
    (lambda: API.reset("1"), "write reset(times=1)"),
    (lambda: API.reset(1, "x"), "a count of bytes"),
    (lambda: API.truncated(0.5), "a number of requests"),
    (lambda: API.truncated(1, 2), "a fraction from 0 to below 1"),
    (lambda: API.malformed_json("x"), "write malformed_json(times=2)"),
    (lambda: API.malformed_csv(0.5), "write malformed_csv(times=2)"),
    (lambda: API.refused("/flights"), "a number of requests"),
    (lambda: API.serve("flights", "[]"), "write '/flights'"),
    (lambda: API.serve("/api/flights?month=07", "[]"), "write '/api/flights'"),
    (lambda: API.serve("*", "[]"), "one exact path"),
    (lambda: API.serve("/flights"), 'write server.serve("/flights", "[]")'),
    (lambda: API.serve("/flights", (1, 2)), "pass json.dumps(...) of it"),
    (lambda: FaultyServer(handler="[]"), "handler is a function of the request"),
    (lambda: FaultyServer(schedule=[Status(503)]), "schedule is a function of the request"),
    (lambda: Status("503"), "use a code from 200 to 599"),
    (lambda: Status(100), "use a code from 200 to 599"),
    (lambda: Status(503, times=2), "Status has no argument 'times'"),
    (lambda: Reset("all"), "a count of bytes"),
    (lambda: Truncate("half"), "a fraction from 0 to below 1"),
    (lambda: Incomplete(1), "a fraction from 0 to below 1"),
    (lambda: Drip("slowly"), "a pace above 0"),
    (lambda: Hang(float("inf")), "seconds from 0 up"),
    (lambda: Corrupt("x"), "a function from the body to another"),
    (lambda: SLACK.refuses(503), "such as 'channel_not_found'"),
    (lambda: SLACK.refuses("no_service", "2"), "write refuses(times=2)"),
    (lambda: SLACK.bad_gateway(502), "for the status 502"),
    (lambda: SLACK.rate_limited("2"), "write rate_limited(times=2)"),
    (lambda: SLACK.accepts_and_hangs("soon"), "seconds from 0 up"),
    (lambda: SLACK.drips("slowly"), "a pace above 0"),
    (lambda: FakeSlack(channels="#ml-alerts"), "write channels=['#ml-alerts']"),
    (lambda: MAIL.refuses("451"), "a code from 400 to 599, not '451'"),
    (lambda: MAIL.refuses(250), "a code from 400 to 599"),
    (lambda: MAIL.refuses(451, "2"), "write refuses(times=2)"),
    (lambda: MAIL.refuses(451, at="mesage"), "refuses at connect"),
    (lambda: MAIL.refuses_recipient(550), "such as 'ops@example.org'"),
    (lambda: MAIL.vanishes("1"), "write vanishes(times=1)"),
    (lambda: MAIL.hangs("soon"), "seconds from 0 up"),
    (lambda: MAIL.drips(0), "a pace above 0"),
    (lambda: VirtualClock().advance("-1s"), "moves forward"),
    (lambda: VirtualClock().advance("60"), 'write 60 or "60s"'),
    (lambda: VirtualClock("now"), "seconds from 0 up"),
    (lambda: use_clock(VirtualClock).__enter__(), "write VirtualClock()"),
    (lambda: use_clock(5).__enter__(), "a clock such as VirtualClock()"),
    (lambda: RecordedEvents().named("retry.shceduled"), "did you mean 'retry.scheduled'?"),
    (lambda: flush_messages("soon"), "seconds from 0 up"),
]


@pytest.mark.parametrize(("call", "instead"), REFUSED)
def test_a_mistake_is_refused_with_what_to_write_instead(call, instead):
    with pytest.raises((PolicyError, ValueError, TypeError)) as info:
        call()
    assert instead in str(info.value)


@pytest.mark.parametrize("given", ["2s", timedelta(seconds=2), 2], ids=str)
def test_durations_are_accepted_in_every_form(given):
    assert (Slow(given), Hang(given)) == (Slow(2.0), Hang(2.0))
    API.slow(given)
    API.hangs(given)
    clock = VirtualClock()
    clock.advance(given)
    assert clock.now() == 2.0


def test_zero_failures_are_allowed():
    API.down(0)
    API.slow(0)
    API.down(2, path="/api/*")
    API.rate_limited(1, timedelta(seconds=30))
