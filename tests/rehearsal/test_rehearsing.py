"""Flows under faults, each run in a forked child: what is found, and what the policies that find it are missing."""

import asyncio
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from prefect import flow, task
from pydantic import BaseModel

from resilient_tasks import Fallback, Retry, Timeout, Validate, resilient_task
from resilient_tasks.cli import main
from resilient_tasks.rehearsal import matrix
from resilient_tasks.rehearsal.faults import plan_of
from resilient_tasks.rehearsal.judge import Verdict
from resilient_tasks.rehearsal.rehearsal import CannotRehearseError, rehearse


class Order(BaseModel):
    number: int
    amount: float


ORDERS = [{"number": 1, "amount": 9.5}, {"number": 2, "amount": 3.0}]
ALL = {"retry": Retry(attempts=3), "timeout": 20, "validate": Validate(output=Order), "idempotent": True}


def totals(**policies):
    """Return a flow with one task under these policies, which writes a file."""

    @resilient_task(**policies)
    def fetch():
        return [dict(order) for order in ORDERS]

    @flow
    def total():
        orders = fetch()
        amount = sum(order["amount"] or 0 for order in orders)
        Path("total.txt").write_text(f"{amount}\n")
        return amount

    return total


def without(name):
    return {policy: value for policy, value in ALL.items() if policy != name}


def verdicts(found):
    return {result.judged.verdict for result in found.results}


def test_a_flow_with_all_policies_passes():
    found = rehearse(totals(**ALL), runs=14)
    assert found.passed
    assert verdicts(found) <= {Verdict.RECOVERED, Verdict.LOUD, Verdict.UNTOUCHED}
    assert Verdict.RECOVERED in verdicts(found)


def test_without_its_validation_the_silent_failure_is_shrunk_to_one_fault():
    (task,) = rehearse(totals(**ALL), runs=1, faults=["malformed"]).tasks
    plan = plan_of(f"{task}:1:before:429,{task}:1:before:timeout,{task}:1:data:null:always")
    found = rehearse(totals(**without("validate")), replay=plan)
    (smallest,) = found.smallest
    assert smallest.judged.verdict is Verdict.SILENT
    assert [fault.token for fault in smallest.faults] == [f"{task}:1:data:null:always"]
    assert "result is 3.0, 12.5 without faults" in smallest.judged.why


def test_a_row_that_is_always_quarantined_hides_no_silent_failure():
    @resilient_task(validate=Validate(output=Order, on_invalid="quarantine"))
    def fetch():
        return [*ORDERS, {"number": 3, "amount": "unknown"}]

    @resilient_task
    def rate():
        return 2.0

    @flow
    def total():
        return rate() * sum(order.amount if isinstance(order, Order) else order["amount"] for order in fetch())

    other, fewer = (
        rehearse(total, replay=plan_of(token)).results[0].judged for token in ("rate:1:data:range", "fetch:1:data:null")
    )
    assert other.verdict is Verdict.SILENT
    assert fewer.verdict is Verdict.DEGRADED
    assert "rows.quarantined" in fewer.why


def test_without_its_timeout_the_hang_is_found():
    found = rehearse(totals(**without("timeout")), runs=3, faults=["timeouts"], patience=1)
    assert Verdict.HUNG in verdicts(found)
    assert {fault.kind for result in found.smallest for fault in result.faults} == {"slow"}


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_slow_task_in_a_process_of_its_own_is_killed_after_a_fraction_of_its_timeout(where):
    flow = totals(retry=Retry(attempts=3), timeout=Timeout("1h", enforce="process"))
    (task,) = rehearse(flow, runs=1, faults=["api"]).tasks
    (result,) = rehearse(flow, replay=plan_of(f"{task}:1:{where}:slow")).results
    assert result.judged.verdict is Verdict.RECOVERED


def test_data_that_is_lost_beside_rows_that_each_run_quarantines_is_a_silent_failure():
    @resilient_task(validate=Validate(output=Order, on_invalid="quarantine"))
    def fetch():
        return [*(dict(order) for order in ORDERS), {"number": 3, "amount": None}]

    @task
    def amounts(orders):
        return [order["amount"] for order in orders]

    @flow
    def total():
        return sum(amount or 0 for amount in amounts(fetch()))

    fetched, lost = rehearse(total, runs=1, faults=["api"]).tasks
    silent, quarantined = (
        rehearse(total, replay=plan_of(f"{name}:1:data:{kind}")).results[0].judged
        for name, kind in ((lost, "null"), (fetched, "null"))
    )
    assert silent.verdict is Verdict.SILENT
    assert quarantined.verdict is Verdict.DEGRADED
    assert "rows.quarantined" in quarantined.why


class Till(BaseHTTPRequestHandler):
    """Takes payments."""

    def do_POST(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        """Write nothing."""


@pytest.fixture(scope="module")
def till():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Till)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/charge"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("is_declared", [True, False])
def test_wrongly_declared_idempotent_a_request_is_sent_twice(till, is_declared):
    @resilient_task(retry=Retry(attempts=3, on=ConnectionError) if is_declared else None, idempotent=is_declared)
    def charge():
        with urlopen(Request(till, b"{}", method="POST")) as answer:
            return answer.status

    @flow
    def pay():
        return charge()

    (task,) = rehearse(pay, runs=1, faults=["api"]).tasks
    found = rehearse(pay, replay=plan_of(f"{task}:1:after:reset"))
    (result,) = found.results
    assert result.judged.verdict is (Verdict.TWICE if is_declared else Verdict.LOUD)
    assert ("/charge: 2 times, 1 without faults" in result.judged.why) is is_declared


def test_after_a_crash_the_flow_runs_again_in_the_same_folder():
    @task
    def append():
        with Path("log.txt").open("a") as log:
            log.write("done\n")

    @flow
    def logged():
        append()

    (name,) = rehearse(logged, runs=1, faults=["api"]).tasks
    before, after = (
        rehearse(logged, replay=plan_of(f"{name}:1:{where}:crash")).results[0].judged for where in ("before", "after")
    )
    assert before.verdict is Verdict.RECOVERED
    assert after.verdict is Verdict.TWICE
    assert after.why == "files/log.txt has the line 'done': 2 times, 1 without faults"


def test_a_fallback_degrades_an_async_flow():
    @resilient_task(retry=Retry(attempts=2, wait=60), timeout=30, fallback=Fallback(value=[]))
    async def fetch():
        return [1, 2]

    @flow
    async def counted():
        return len(await fetch())

    (name,) = rehearse(counted, runs=1, faults=["api"]).tasks
    judged = [
        rehearse(counted, replay=plan_of(f"{name}:1:{form}")).results[0].judged
        for form in ("before:slow", "before:refused:always")
    ]
    assert [each.verdict for each in judged] == [Verdict.RECOVERED, Verdict.DEGRADED]
    assert "fallback.used" in judged[1].why


def test_a_broken_channel_does_not_change_the_run():
    from resilient_tasks import Webhook

    @resilient_task(notify=Webhook("http://127.0.0.1:9/alerts"), fallback=Fallback(value=[]))
    def fetch():
        return [1, 2]

    @flow
    def fetched():
        return fetch()

    found = rehearse(fetched, runs=1, faults=["alerts"])
    assert verdicts(found) == {Verdict.DEGRADED}


def test_what_differs_without_faults_is_not_compared():
    numbers = count()  # of the parent's memory, and a child's copy: only the process id differs

    @task
    def stamp():
        import os

        return {"at": os.getpid() + next(numbers), "n": 1}

    @flow
    def stamped():
        return stamp()

    found = rehearse(stamped, runs=3, faults=["api"])
    assert found.ignored == ("result['at']",)
    assert Verdict.SILENT not in verdicts(found)


def test_a_flow_that_fails_without_faults_is_refused_with_its_error():
    @flow
    def broken():
        raise RuntimeError("no such table")

    with pytest.raises(CannotRehearseError, match=r"fails without faults: RuntimeError: no such table"):
        rehearse(broken)


@pytest.mark.parametrize(
    ("parameters", "problem"),
    [
        ({}, "missing a required argument: 'number'"),
        ({"number": 1, "month": 7}, "got an unexpected keyword argument 'month'"),
    ],
)
def test_a_flow_whose_parameters_are_missing_is_refused_before_it_runs(parameters, problem):
    @flow
    def month(number):
        return number

    with pytest.raises(CannotRehearseError, match=rf"month cannot be called .*{problem}.* write --param month=7"):
        rehearse(month, parameters=parameters)


def test_a_flow_without_tasks_is_refused():
    @flow
    def empty():
        return 1

    with pytest.raises(CannotRehearseError, match="calls no task"):
        rehearse(empty)


def test_the_fixture_fails_with_the_reason_and_how_to_repeat_it(resilient_rehearse):
    with pytest.raises(AssertionError) as caught:
        resilient_rehearse(totals(**without("validate")), runs=4, faults=["malformed"])
    message = str(caught.value)
    assert message.startswith("total did not pass its rehearsal")
    assert "failed silently: " in message
    assert "resilient_rehearse(total, replay='" in message


FLOWS = """
from prefect import flow, task

@task
def read(month):
    return {"month": month}

@flow
def monthly(month: int = 1):
    return read(month)["month"]
"""


@pytest.fixture
def flows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("rehearsed_flows.py").write_text(FLOWS)
    yield "rehearsed_flows.py:monthly"
    sys.modules.pop("rehearsed_flows", None)


def test_the_command_prints_the_matrix_and_the_command_of_a_replay(flows, capsys):
    assert (
        main(["rehearse", flows, "--runs", "3", "--faults", "malformed", "--param", "month=7", "--html", "m.html"]) == 1
    )
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].split() == ["task", "malformed"]
    (replay,) = [line.strip() for line in printed.splitlines() if "--replay" in line]
    page = Path("m.html").read_text()
    assert "<th>malformed</th>" in page
    assert "<script" not in page
    import shlex

    assert main([*shlex.split(replay)[1:], "--json"]) == 1
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["verdict"] == "failed silently"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--faults", "apis"], "'apis' is no family of faults"),
        (["--replay", "read:1:x"], "names no fault"),
        (["--param", "month"], "--param takes NAME=JSON"),
        (["--runs", "0"], "runs is a number from 1 up"),
    ],
)
def test_an_impossible_option_is_refused(flows, capsys, options, message):
    assert main(["rehearse", flows, *options]) == 2
    assert message in capsys.readouterr().err


def test_a_target_without_a_name_is_refused(flows, capsys):
    assert main(["rehearse", flows.partition(":")[0]]) == 2
    assert "names no flow" in capsys.readouterr().err


def test_the_matrix_counts_a_run_with_several_faults_only_where_it_was_shrunk_to_one():
    (name,) = rehearse(totals(**ALL), runs=1, faults=["api"]).tasks
    found = rehearse(totals(**ALL), replay=plan_of(f"{name}:1:before:503,{name}:1:after:reset"))
    assert matrix.rows(found) == [["fetch"]]


def test_the_parent_keeps_its_own_state():
    before = asyncio.get_event_loop_policy(), sys.stdout, Path.cwd()
    rehearse(totals(**ALL), runs=1)
    assert (asyncio.get_event_loop_policy(), sys.stdout, Path.cwd()) == before
