"""Run reports as `RunReport.as_dict()` returns them, for tests of what draws them."""

import random

START = 1_372_680_187.0
ERRORS = ("HTTP 503", "HTTP 429", "ConnectError", "TimedOut")


def empty(**changes):
    """Return the report of a run in which nothing happened."""
    counts = ("failed", "degraded", "recovered", "retries", "waited_s", "rows_out", "quarantined")
    return {
        "version": 1,
        "run": {"id": None, "name": None, "url": None, "started": None, "ended": None},
        "partial": None,
        "headline": "0 failed, 0 degraded, 0 recovered",
        "counts": dict.fromkeys((*counts, "alerts_sent", "alerts_waiting", "events"), 0),
        "not_recovered": [],
        "degraded": [],
        "recovered": [],
        "operations": [],
        "timeline": {"left_out": 0, "calls": []},
        "circuits": [],
        "rows": [],
        "alerts": {"sent": 0, "suppressed": 0, "waiting": []},
        "not_stopped": [],
        "remarks": [],
        **changes,
    }


def attempt(number, started, ended, outcome, error=None):
    return {"number": number, "started": started, "ended": ended, "outcome": outcome, "error": error}


def call(name, operation, outcome, attempts, waits=(), *, marks=(), task_run=None):
    """Return a call of the time line; `waits` are pairs of times, `marks` triples of time, name and text."""
    return {
        "call": name,
        "operation": operation,
        "task_run": task_run,
        "outcome": outcome,
        "attempts": list(attempts),
        "waits": [{"started": began, "ended": ended, "reason": "backoff"} for began, ended in waits],
        "marks": [{"time": time, "name": mark, "text": text} for time, mark, text in marks],
    }


def failure(operation="publish", name="c1", message="model 'pilot' is unknown", **changes):
    return {
        "operation": operation,
        "call": name,
        "time": START + 64,
        "attempts": 1,
        "error": "HTTP 422",
        "error_type": "HTTPStatusError",
        "message": message,
        "http_status": 422,
        "kind": "permanent",
        "why": "not retried: HTTP 422 is permanent",
        **changes,
    }


def small():
    """Return the report of a run with one of everything."""
    at = START
    counts = {"failed": 1, "degraded": 1, "recovered": 2, "retries": 5, "waited_s": 9.5, "rows_out": 42}
    counts |= {"quarantined": 42, "alerts_sent": 1, "alerts_waiting": 1, "events": 31}
    refused = "POST /models/pilot returned 422: model 'pilot' is unknown"
    calls = [
        call("c1", "publish", "failed", [attempt(1, at + 63, at + 64, "failed", f"HTTP 422: {refused}")]),
        call(
            "c2",
            "fetch_planes",
            "degraded",
            [
                attempt(1, at + 2, at + 4.5, "failed", "HTTP 503: register is down"),
                attempt(2, at + 6.5, at + 26.5, "abandoned", "TimedOut: no answer within 20 s"),
            ],
            [(at + 4.5, at + 6.5)],
            marks=[(at + 26.6, "notify.sent", "#ml-alerts: fetch_planes degraded")],
        ),
        call(
            "c3",
            "fetch_month",
            "recovered",
            [
                attempt(1, at + 1, at + 3, "failed", "HTTP 503: try again"),
                attempt(2, at + 5, at + 15, "timeout", "TimedOut: 10 s"),
                attempt(3, at + 18, at + 21, "ok"),
            ],
            [(at + 3, at + 5), (at + 15, at + 18)],
            marks=[(at + 21, "rows.quarantined", "42 of 27,004 rows quarantined")],
            task_run="fetch_month-a3f",
        ),
        call(
            "c4",
            "fetch_month",
            "recovered",
            [attempt(1, at + 8, at + 9, "failed", "ConnectError"), attempt(2, at + 11.5, at + 14, "ok")],
            [(at + 9, at + 11.5)],
        ),
        call("c5", "train", "ok", [attempt(1, at + 28, at + 62, "ok")]),
    ]
    spans = [("closed", 0, 26.5, ""), ("open", 26.5, 56.5, "3 of 5 calls failed"), ("half_open", 56.5, 58, "")]
    spans = [*spans, ("closed", 58, None, "trial calls succeeded")]
    return empty(
        run={
            "id": "0b9c",
            "name": "blue-heron",
            "url": "http://127.0.0.1:4242/runs/flow-run/0b9c",
            "started": at,
            "ended": at + 65,
        },
        headline="1 failed, 1 degraded, 2 recovered, 42 rows quarantined",
        counts=counts,
        not_recovered=[failure(message=refused)],
        degraded=[
            {
                "operation": "fetch_planes",
                "call": "c2",
                "time": at + 26.5,
                "fallback": "last good result",
                "error": "TimedOut",
                "error_type": "TimedOut",
                "message": "no answer within 20 s",
                "http_status": None,
                "age_s": 273_600.0,
                "since": at - 273_600,
            }
        ],
        recovered=[
            {
                "operation": "fetch_month",
                "call": "c3",
                "time": at + 21,
                "attempts": 3,
                "errors": {"HTTP 503": 1, "TimedOut": 1},
                "waited_s": 5.0,
            },
            {
                "operation": "fetch_month",
                "call": "c4",
                "time": at + 14,
                "attempts": 2,
                "errors": {"ConnectError": 1},
                "waited_s": 2.5,
            },
        ],
        operations=[
            _operation("publish", failed=1, errors={"HTTP 422": 1}),
            _operation("fetch_planes", degraded=1, retries=1, waited_s=2.0, errors={"HTTP 503": 1, "TimedOut": 1}),
            _operation("fetch_month", recovered=2, retries=3, waited_s=7.5, rows_out=42, errors={"HTTP 503": 1}),
        ],
        timeline={"left_out": 0, "calls": calls},
        circuits=[
            {
                "name": "registry",
                "spans": [
                    {"state": state, "started": at + began, "ended": None if end is None else at + end, "reason": why}
                    for state, began, end, why in spans
                ],
            }
        ],
        rows=[
            {
                "operation": "fetch_month",
                "part": None,
                "rows": 27_004,
                "invalid": 42,
                "action": "quarantined",
                "reasons": {"air_time: not in 5 to 1000": 40, "dest: is null": 2},
                "path": "quarantine/fetch_month/2013-07.parquet",
            }
        ],
        alerts={
            "sent": 1,
            "suppressed": 2,
            "waiting": [{"channel": "mail to ops", "reason": "connection refused", "retry_in_s": 60.0}],
        },
        not_stopped=[
            {
                "operation": "fetch_planes",
                "time": at + 26.5,
                "limit_s": 20.0,
                "thread": "worker-2",
                "reason": "the thread is in a C call",
            }
        ],
        remarks=["calls that shared the attempt of another: 1 (train)"],
    )


def _operation(name, **counts):
    known = dict.fromkeys(("failed", "degraded", "recovered", "retries", "rows_out"), 0)
    return {"name": name, "waited_s": 0.0, "errors": {}, **known, **counts}


def large(size=2000, seed=1):
    """Return the report of a run with many calls, some of them at the same time."""
    draw, calls, at = random.Random(seed), [], START
    report = empty()
    for number in range(size):
        at += draw.expovariate(1.0)
        calls.append(_drawn(draw, number, at))
    by_outcome = {
        name: [each for each in calls if each["outcome"] == name] for name in ("failed", "degraded", "recovered")
    }
    counts = report["counts"] | {name: len(found) for name, found in by_outcome.items()} | {"events": size * 3}
    lost = [
        failure(
            each["operation"],
            each["call"],
            error="HTTP 503",
            http_status=503,
            attempts=len(each["attempts"]),
            why="all attempts failed",
        )
        for each in by_outcome["failed"]
    ]
    back = [
        {
            "operation": each["operation"],
            "call": each["call"],
            "time": START,
            "attempts": 2,
            "errors": {"HTTP 503": 1},
            "waited_s": 1.0,
        }
        for each in by_outcome["recovered"]
    ]
    return report | {
        "run": {"id": "r", "name": "backfill", "url": None, "started": START, "ended": at + 60},
        "counts": counts,
        "headline": f"{counts['failed']} failed, {counts['degraded']} degraded, {counts['recovered']} recovered",
        "not_recovered": lost,
        "recovered": back,
        "timeline": {"left_out": 12_345, "calls": calls},
    }


def _drawn(draw, number, at):
    """Return a call at random: attempts that fail, and perhaps one that succeeds."""
    attempts, waits = [], []
    for tried in range(1, draw.choice((1, 2, 2, 3, 5)) + 1):
        took = draw.expovariate(1 / 6)
        attempts.append(attempt(tried, at, at + took, "failed", draw.choice(ERRORS)))
        at += took
        waits.append((at, at + 2.0**tried))
        at += 2.0**tried
    outcome = draw.choices(("failed", "degraded", "recovered", "ok"), (1, 2, 20, 60))[0]
    if outcome == "ok":
        attempts, waits = attempts[:1], []
    if outcome in {"ok", "recovered"}:
        attempts[-1] |= {"outcome": "ok", "error": None}
    return call(f"n{number}", f"fetch_{draw.randrange(12)}", outcome, attempts, waits[: len(attempts) - 1])


#: Names of fields whose texts are the library's own.
OWN_TEXTS = {"outcome", "state", "call", "id", "url"}


def with_texts(report, write, field=""):
    """Return a report in which each text that is a user's, a service's or an error's is what `write(it)` returns."""
    match report:
        case dict():
            free = field in {"errors", "reasons"}
            return {write(name) if free else name: with_texts(value, write, name) for name, value in report.items()}
        case list():
            return [with_texts(each, write, field) for each in report]
        case str() if field not in OWN_TEXTS:
            return write(report)
    return report


def without_times(report):
    """Return a report in which no time and no duration is known."""
    known = {"started", "ended", "time", "age_s", "since", "retry_in_s", "limit_s"}
    match report:
        case dict():
            return {name: None if name in known else without_times(value) for name, value in report.items()}
        case list():
            return [without_times(each) for each in report]
    return report


HOSTILE = (
    "<script>window.owned = 1</script>",
    "</script><script>window.owned = 2</script>",
    "<!--<script>",
    '"><img src=x onerror="window.owned = 3">',
    "' onmouseover='window.owned = 4' x='",
    "</style></title></details></table><svg onload=window.owned=5>",
    "javascript:window.owned=6",
    "]]>{{7*7}}${window.owned = 8}`",
    "line\u2028end\u2029 \u202eevil\u202c \x00\x1b[31m\x07 \ud800 \ufeff\u200b",
    "W" * 5000,
    "&lt;b&gt; &amp; é 漢字 🙂 e\u0301",
    "\n\r\n\t  ",
)
