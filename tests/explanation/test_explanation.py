"""`explain`: its text, its facts, its drawings, and the tasks of flows that it finds."""

import json
import math
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pandera.pandas as pa
import pytest
import tenacity

import resilient_tasks
from resilient_tasks import (
    Bulkhead,
    Chaos,
    Deadline,
    Fallback,
    Hedge,
    LastGood,
    Pipeline,
    Policy,
    RateLimit,
    Retry,
    Timeout,
    Validate,
    explain,
    resilient,
)

ROOT = Path(resilient_tasks.__file__).resolve().parents[1]
SCHEMA = pa.DataFrameSchema({"n": pa.Column(int)})


def fetch(month="07"):
    return month


def worst(*policies):
    return explain(Pipeline(*policies)).worst_case


class TestTheWorstCase:
    def test_without_a_limit_it_names_what_has_none(self):
        case = worst(Retry(attempts=3, wait=1))
        assert (case.attempts, case.seconds) == (3, math.inf)
        assert case.why == ("the function has no timeout= and no deadline=",)

    def test_a_service_that_asks_for_waits_is_counted_beside_the_own_waits(self, own_settings):
        own_settings(longest_retry_after=60)
        case = worst(Retry(attempts=3, wait=1), Timeout(2))
        assert (case.unasked_seconds, case.seconds) == (8, 126)

    def test_a_function_for_waits_is_unknown_and_a_deadline_limits_it(self):
        waits = Retry(wait=lambda call: 1)
        assert "is a function, and its waits are not known" in worst(waits, Timeout(1)).why[0]
        assert worst(Deadline(9), waits, Timeout(1)).seconds == 9

    def test_cooperative_work_is_limited_by_nothing(self):
        assert worst(Deadline(9), Timeout(2, "cooperative")).seconds == math.inf

    def test_a_fallback_has_its_own_time_after_the_deadline(self):
        assert worst(Fallback(fetch, timeout=3), Deadline(9)).seconds == 12
        assert worst(Fallback(value=3), Deadline(9)).seconds == 9
        assert worst(LastGood(otherwise=Fallback(fetch, timeout=3)), Deadline(9)).seconds == 12
        assert worst(Fallback(fetch), Deadline(9)).why == ("the fallback fetch has no timeout",)

    def test_a_hedge_that_never_begins_makes_no_attempt(self):
        assert worst(Hedge(3, attempts=3), Timeout(2)).attempts == 1

    def test_a_policy_that_states_nothing_is_unknown_and_not_guessed(self):
        class Silent(Policy):
            repeats = True

            def describe(self):
                return "silent"

        case = worst(Deadline(9), Silent(), Timeout(1))
        assert (case.attempts, case.seconds) == (math.inf, math.inf)
        assert case.why == ("silent does not state its worst case",)

    def test_a_subclass_that_changes_only_what_a_policy_does_is_unknown(self):
        class Slow(Timeout):
            async def around(self, call, proceed):
                await call.runtime.sleep(99)
                return await proceed(call)

        assert worst(Slow(1)).seconds == math.inf
        assert worst(type("Same", (Timeout,), {})(1)).seconds == 1

    @pytest.mark.parametrize("answer", [None, 3, ZeroDivisionError("oh")])
    def test_a_statement_that_is_no_bound_is_unknown(self, answer):
        class Wrong(Policy):
            def longest(self, inner):
                if isinstance(answer, Exception):
                    raise answer
                return answer

        assert "longest() " in worst(Wrong()).why[-1]

    def test_a_policys_own_statement_is_used(self):
        class Rest(Policy):
            def longest(self, inner):
                return inner.after(5, "a rest")

        assert worst(Retry(attempts=2, wait=1), Rest(), Timeout(2)).unasked_seconds == 15

    def test_a_fallback_with_policies_of_its_own_takes_as_long_as_they_allow(self):
        other = resilient(retry=Retry(attempts=2, wait=1), timeout=2, idempotent=True)(lambda month="07": month)
        assert worst(Fallback(other), Deadline(9)).unasked_seconds == 9 + 5

    def test_waits_for_other_callers_have_no_limit_but_the_deadline(self):
        for waits in (
            {"single_flight": True},
            {"bulkhead": Bulkhead("api", 1, queue=3)},
            {"rate_limit": RateLimit("a", 1, 1)},
        ):
            assert explain(resilient(timeout=2, **waits)(fetch)).worst_case.seconds == math.inf
            assert explain(resilient(timeout=2, deadline=30, **waits)(fetch)).worst_case.seconds == 30
        assert worst(Bulkhead("api", 1), RateLimit("api", 1, 1, wait=False), Timeout(2)).seconds == 2

    def test_waits_for_permission_delay_a_hedge(self):
        assert worst(Hedge(1, attempts=2), RateLimit("api", 1, 1, wait=4), Timeout(3)).seconds == 4 + 1 + 4 + 3
        queued = worst(Deadline(9), Hedge(1, attempts=2), Bulkhead("api", 1, queue=3), Timeout(3))
        assert (queued.attempts, queued.seconds) == (2, 9)

    def test_a_stop_strategy_limits_attempts_and_time(self):
        stop = tenacity.stop_after_attempt(4) | tenacity.stop_after_delay(100)
        assert worst(Retry(attempts=None, stop=stop, wait=1), Timeout(1)).attempts == 4
        endless = worst(Retry(attempts=None, stop=tenacity.stop_never, wait=1), Timeout(1))
        assert (endless.attempts, endless.seconds) == (math.inf, math.inf)

    def test_many_attempts_take_no_time_to_count(self):
        assert worst(Deadline(1e6), Retry(attempts=10**9, wait=0.5), Timeout(1)).attempts == 2 * 10**6


class TestTheText:
    def test_it_is_a_text(self):
        explanation = explain(resilient(retry=3, timeout=2, idempotent=True)(fetch))
        assert isinstance(explanation, str)
        assert explanation.splitlines()[0].startswith("1. retry: 3 attempts")
        assert "· worst case: 3 attempts, 7.5 s; 2 h if a service asks for longer waits (Retry-After)" in explanation

    def test_it_says_where_bad_rows_go_and_what_refuses_a_batch(self):
        keeps = Validate(output=SCHEMA, on_invalid="quarantine", max_invalid=0.05, quarantine="bad")
        assert "bad rows are quarantined at bad; a batch with more than 5 % bad rows is refused" in explain(
            Pipeline(keeps)
        )
        drops = Validate(output=SCHEMA, on_invalid="drop", max_invalid=3)
        assert "bad rows are dropped, and counted; a batch with more than 3 bad rows is refused" in explain(
            Pipeline(drops)
        )

    def test_it_says_what_is_not_retried_and_what_a_fallback_stands_in_for(self):
        text = explain(resilient(retry=3, fallback=Fallback(fetch, on=TimeoutError))(fetch))
        assert "not retried: malformed data, permanent errors (4xx, bugs), lack of memory or disk" in text
        assert "the fallback stands in for TimeoutError" in text

    def test_it_says_who_shares_state(self, own_settings):
        assert "shared by this process alone (store memory:): breaker api" in explain(resilient(breaker="api")(fetch))

    def test_a_description_shows_no_secret_and_may_raise(self):
        class Broken(Policy):
            def describe(self):
                raise KeyError("oh")

        assert "1. Broken, whose describe() raised KeyError" in explain(Pipeline(Broken()))
        keeps = Pipeline(Fallback(value={"url": "https://user:hunter2pass@example.org"}))
        for text in (
            explain(keeps),
            json.dumps(explain(keeps).as_dict()),
            explain(keeps).svg(),
            explain(keeps).drawing(),
        ):
            assert "hunter2pass" not in text

    def test_a_store_with_a_password_is_redacted(self, own_settings, monkeypatch):
        monkeypatch.setenv("RESILIENT_TASKS_STORE", "")
        own_settings(store="redis://user:hunter2pass@example.org:6379/0")
        assert "hunter2pass" not in explain(resilient(breaker="api")(fetch))

    def test_the_facts_are_plain_data(self):
        found = json.loads(json.dumps(explain(resilient(retry=3, deadline=9)(fetch)).as_dict()))
        assert found["worst_case"]["seconds"] == 9
        assert {"async", "main thread", "worker thread", "Windows"} - {*found["limits"]} == {"async"}
        assert (
            json.loads(json.dumps(explain(resilient(retry=3)(fetch)).as_dict()))["worst_case"]["seconds"] == "unlimited"
        )


DRAWN = {
    "usual": (Fallback(fetch, timeout=5), Deadline(120), Retry(attempts=5, wait=2), Timeout(20)),
    "hedged": (Retry(), Hedge(0.5, attempts=3), RateLimit("api", 2, 1, wait=1), Timeout(2)),
    "without a limit": (Retry(attempts=None, stop=lambda state: False), Chaos(latency=1)),
    "tiny": (Timeout(0.001),),
    "nothing": (),
    "very long": (Retry(attempts=10**6, wait=3600), Timeout(1e6)),
    "<script>&": (Retry(on=type("<b>&amp;", (Exception,), {})),),
}


class TestTheDrawings:
    @pytest.mark.parametrize("policies", DRAWN.values(), ids=DRAWN)
    def test_the_svg_is_well_formed_and_inside_its_frame(self, policies):
        root = ET.fromstring(explain(Pipeline(*policies)).svg())
        width, height = (float(each) for each in root.attrib["viewBox"].split()[2:])
        assert width == 390
        for shape in root.iter("{http://www.w3.org/2000/svg}rect"):
            if shape.get("class") != "page":
                left, top = float(shape.get("x")), float(shape.get("y"))
                assert 0 <= left <= left + float(shape.get("width")) <= width
                assert 0 <= top <= top + float(shape.get("height")) <= height

    @pytest.mark.parametrize("width", [10, 60, 120])
    @pytest.mark.parametrize("policies", DRAWN.values(), ids=DRAWN)
    def test_the_text_keeps_its_width(self, policies, width):
        lines = explain(Pipeline(*policies)).drawing(width).splitlines()
        assert max(map(len, lines)) <= max(width, 40)

    def test_the_line_is_to_scale(self):
        line = explain(Pipeline(Deadline(40), Retry(attempts=2, wait=10), Timeout(10))).drawing(43).splitlines()[-4]
        assert [line.count(mark) for mark in "█·┃"] == [20, 10, 1]
        assert line.index("┃") == 40


def test_the_picture_of_the_page_is_current(tmp_path):
    command = [sys.executable, ROOT / "docs" / "pictures" / "explain.py", "--folder", tmp_path]
    subprocess.run(command, check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(ROOT)})
    drawn = (tmp_path / "explain.svg").read_text(encoding="utf-8")
    assert drawn == (ROOT / "docs" / "images" / "explain.svg").read_text(encoding="utf-8")


def test_neither_the_package_nor_a_call_that_fails_loads_any_of_this():
    program = (
        "import sys\n"
        "from resilient_tasks import resilient\n"
        "resilient(retry=2, deadline=9, timeout=3, fallback=lambda: 1, idempotent=True)(lambda: 1 / 0).outcome()\n"
        "print(*[name for name in sys.modules if 'explanation' in name or name.endswith(('.bounds', '.worst_case'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == []
