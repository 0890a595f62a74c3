"""The fixtures in a user's own test suite, with the library installed."""

import re
import socket
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import warm_programs

#: A suite's `conftest.py`.
TABLES_MADE = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
from prefect_database import pytest_configure
"""


@pytest.fixture
def suite(pytester):
    """Run a user's test file in its own process, with the plugin found by its entry point."""
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\nasyncio_default_fixture_loop_scope = function\n")

    def run(source):
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-q", timeout=240)

    return run


def test_the_plugin_is_found_by_its_entry_point():
    (found,) = [entry for entry in entry_points(group="pytest11") if entry.name == "resilient_tasks"]
    assert found.value == "resilient_tasks.pytest_plugin"


def test_with_the_clock_waits_return_at_once_and_counters_start_fresh(suite):
    suite("""
        import pytest
        from resilient_tasks import Console, Retry, configure, resilient

        @resilient(retry=Retry(attempts=3, wait=3600), notify=Console())
        def fetch():
            raise ConnectionError("down")

        @pytest.mark.parametrize("again", [1, 2])
        def test_waits(resilient_clock, resilient_events, again):
            with pytest.raises(ConnectionError):
                fetch()
            assert resilient_clock.waits == [3600, 3600]
            assert resilient_clock.now() == 7200
            assert "notify.suppressed" not in resilient_events.names

        def test_the_clock_is_put_back():
            from resilient_tasks.core.execution.clock import SystemClock, _clock
            assert isinstance(_clock, SystemClock)
    """).assert_outcomes(passed=3)


def test_each_test_records_its_own_events(suite):
    suite("""
        import pytest
        from resilient_tasks import Retry, resilient

        @pytest.mark.parametrize("again", [1, 2])
        def test_events(resilient_events, resilient_clock, again):
            failures = [ConnectionError()]

            @resilient(retry=Retry(wait=1))
            def fetch():
                if failures:
                    raise failures.pop()

            fetch()
            assert resilient_events.names == ["retry.scheduled", "retry.started", "retry.recovered"]
            assert [event.delay for event in resilient_events.of("fetch").named("retry.scheduled")] == [1]
    """).assert_outcomes(passed=2)


def test_the_api_fails_on_request(suite):
    suite("""
        import json, urllib.request
        from resilient_tasks import Retry, resilient

        def test_api(resilient_api, resilient_clock):
            resilient_api.serve("/flights", '[{"carrier": "UA"}]')
            resilient_api.down()
            resilient_api.rate_limited(retry_after=30)

            @resilient(retry=Retry(attempts=3, wait=1))
            def fetch():
                with urllib.request.urlopen(resilient_api.url + "/flights", timeout=5) as answer:
                    return json.load(answer)

            assert fetch() == [{"carrier": "UA"}]
            assert resilient_clock.waits == [1, 30]
            assert len(resilient_api.requests) == 3
    """).assert_outcomes(passed=1)


def test_slack_records_its_messages(suite):
    suite("""
        import pytest
        from resilient_tasks import Slack, resilient
        from resilient_tasks.testing import flush_messages

        def test_slack(resilient_slack, resilient_clock):
            @resilient(notify=Slack(webhook=resilient_slack.webhook_url))
            def fetch():
                raise ConnectionError("down")

            with pytest.raises(ConnectionError):
                fetch()
            assert flush_messages()
            assert "fetch failed" in resilient_slack.texts()[0]
    """).assert_outcomes(passed=1)


def test_the_mail_server_records_its_messages(suite):
    suite("""
        import pytest
        from resilient_tasks import Email, resilient
        from resilient_tasks.testing import flush_messages

        @pytest.mark.parametrize("way", ["starttls", "tls"])
        def test_mail(resilient_smtp, resilient_clock, way):
            @resilient(notify=Email("ops@example.org", **getattr(resilient_smtp, way)))
            def fetch():
                raise ConnectionError("down")

            with pytest.raises(ConnectionError):
                fetch()
            assert flush_messages()
            (mail,) = resilient_smtp.messages
            assert mail.secure
            assert mail.subject == "fetch failed: ConnectionError"
    """).assert_outcomes(passed=2)


@pytest.fixture
def tables_made(pytester):
    """Have the suite's server start with a database whose tables are made."""
    pytester.makeconftest(TABLES_MADE)


@pytest.fixture
def nothing_imported(monkeypatch):
    """Have the suite start in an interpreter that has imported nothing yet."""
    warm_programs.spawn_instead(monkeypatch)


def test_a_test_without_the_fixtures_is_unaffected(suite, nothing_imported):
    suite("""
        import sys

        def test_plain(request):
            assert not [name for name in request.fixturenames if name.startswith("resilient_")]
            assert "resilient_tasks.core.execution.runtime" not in sys.modules
            assert "prefect" not in sys.modules
    """).assert_outcomes(passed=1)


def test_a_flow_without_an_api_is_refused_at_once_with_a_hint(suite):
    done = suite("""
        from prefect import flow

        @flow
        def monthly():
            return 1

        def test_without(resilient_clock):
            assert monthly() == 1

        def test_with(resilient_clock, resilient_prefect_memory):
            assert monthly() == 1
            assert [run["state_name"] for run in resilient_prefect_memory.flow_runs] == ["Completed"]
    """)
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*No Prefect API URL provided*", "*a task or flow needs resilient_prefect_memory*"])
    assert done.duration < 60


def test_every_test_of_a_session_has_the_settings_of_its_server(suite, tables_made):
    suite("""
        import pytest
        from prefect import flow
        from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY

        @flow
        def monthly():
            return 1

        @pytest.mark.parametrize("number", [1, 2])
        def test_flow(resilient_prefect, resilient_clock, number):
            assert resilient_prefect == PREFECT_API_URL.value()
            assert PREFECT_FLOWS_HEARTBEAT_FREQUENCY.value() is None
            assert monthly() == 1
    """).assert_outcomes(passed=2)


def test_each_fixture_is_documented(pytester):
    shown = pytester.runpytest_subprocess("--fixtures", "-q", timeout=60).stdout.str()
    for name in ("clock", "events", "api", "slack", "smtp", "proxy", "bucket", "prefect", "prefect_memory"):
        assert re.search(rf"resilient_{name}\b.*\n +\w+", shown), name


def test_the_prefect_server_runs_flows_and_ends_with_the_session_even_if_that_is_terminated(suite, tables_made):
    done = suite("""
        import os, signal

        def test_flow(resilient_prefect):
            from prefect import flow
            from prefect.settings import PREFECT_API_URL

            @flow
            def add(a, b):
                return a + b

            assert resilient_prefect == PREFECT_API_URL.value()
            assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
            assert add(1, 2) == 3
            print("server at", resilient_prefect, flush=True)

        def test_terminated(resilient_prefect, capsys):
            with capsys.disabled():
                print("server at", resilient_prefect, flush=True)
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("this session was to end")
    """)
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.assert_outcomes(passed=1)
    port = int(re.search(r"server at http://127\.0\.0\.1:(\d+)/api", done.stdout.str())[1])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


#: Stands for the world outside: an HTTP server that is no fake, and a channel of the user's own. Both write down what
#: reaches them, and so does every process that is started.
_OUTSIDE = """
import contextlib, http.server, os, subprocess, sys, threading
import pytest
from resilient_tasks import Email, Notify, Slack, Webhook, resilient
from resilient_tasks.alerts.sender import flush

reached = []

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        reached.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

world = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=world.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{world.server_port}"

class Pager:
    name = "pager"
    def send(self, message, *, within):
        reached.append("pager")

CHANNELS = [
    Slack(webhook=url + "/slack"),
    Slack(),
    Slack(token="xoxb-1", channel="#c", api_url=url),
    Webhook(url + "/hook"),
    Webhook(url.replace("127.0.0.1", "localhost") + "/hook"),
    Email("a@b.org", "localhost", world.server_port, security="none"),
    Pager(),
]

@resilient(notify=Notify(CHANNELS, fallback=Pager()))
def fetch():
    raise ConnectionError("down")

@pytest.fixture(scope="session", autouse=True)
def the_world(tmp_path_factory):
    os.environ["SLACK_WEBHOOK_URL"] = url + "/environment"
    home = tmp_path_factory.mktemp("home")
    os.environ["HOME"] = str(home)
    os.environ.pop("RESILIENT_TASKS_HOME", None)
    yield
    assert reached == []
    assert list(home.rglob("*")) == []

def fail_silently(events=None):
    with pytest.raises(ConnectionError):
        fetch()
    flush(1)
    if events is not None:
        event = events.named("notify.suppressed")[-1]
        assert event.reason == "channels are off"
        assert event.channel.split(", ")[-1] == "pager"
"""


_EACH = """
def test_{0}_alone(resilient_{0}):
    fail_silently()

@pytest.fixture
def {0}_that_fails(resilient_{0}):
    fail_silently()

def test_{0}_in_another_fixture({0}_that_fails, request):
    fail_silently(request.getfixturevalue("resilient_events"))

def test_{0}_asked_for_by_name(request):
    request.getfixturevalue("resilient_{0}")
    fail_silently()

def test_{0}_in_a_process_that_it_starts(resilient_{0}):
    code = "from resilient_tasks import resilient, Slack; from resilient_tasks.alerts.sender import flush;"
    code += "resilient(notify=Slack())(lambda: 1 / 0).outcome(); flush(1)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
"""

_SERVER_STAND_IN = """
@pytest.fixture(scope="session")
def resilient_prefect():
    pass  # the real one is slow to start, and only its name matters

def test_prefect(resilient_prefect):
    fail_silently()
"""


def test_no_test_with_a_fixture_reaches_people_or_the_users_own_incidents(suite, nothing_imported):
    fixtures = ("clock", "events", "api", "slack", "smtp")
    source = _OUTSIDE + "".join(_EACH.format(fixture) for fixture in fixtures) + _SERVER_STAND_IN
    suite(source).assert_outcomes(passed=21)


def test_no_block_of_the_testing_package_reaches_people(suite):
    suite(
        _OUTSIDE
        + """
from resilient_tasks.testing import *
from resilient_tasks.testing import away_from_people

SERVERS = [FaultyServer, FakeSlack, MailServer]
BLOCKS = [*SERVERS, RecordedEvents.listening, lambda: use_clock(VirtualClock()), away_from_people]

@pytest.mark.parametrize("block", BLOCKS)
def test_block(block):
    with block():
        fail_silently()

def test_blocks_that_overlap():
    first, second = FakeSlack(), FaultyServer()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    fail_silently()
    second.__exit__(None, None, None)
    assert "RESILIENT_TASKS_CHANNELS" not in os.environ

def test_deliver_to_lets_a_channel_through(resilient_clock):
    class Recorder:
        name = "recorder"
        def __init__(self):
            self.messages = []
        def send(self, message, *, within):
            self.messages.append(message.headline())

    ours, other = Recorder(), Pager()
    failing = resilient(notify=[ours, other])(fetch.__wrapped__)
    with deliver_to(ours), pytest.raises(ConnectionError):
        failing()
    with deliver_to(ours):
        flush(5)
    assert ours.messages == ["fetch failed: ConnectionError"]
"""
    ).assert_outcomes(passed=8)


def test_the_session_leaves_no_files_in_the_users_home(suite, monkeypatch, tmp_path):
    monkeypatch.setenv("RESILIENT_TASKS_HOME", str(tmp_path / "home"))
    suite("""
        import multiprocessing
        import pytest
        from resilient_tasks import Slack, resilient
        from resilient_tasks.testing import RecordedEvents, flush_messages

        @resilient(notify=Slack(webhook="http://127.0.0.1:9/hook"))
        def fetch(problem=None):
            if problem:
                raise problem

        def try_it():
            fetch()
            fetch.outcome(ConnectionError("down"))
            assert flush_messages(5)

        @pytest.mark.parametrize("name", ["clock", "events", "api", "slack", "smtp"])
        def test_fixture(request, name):
            request.getfixturevalue(f"resilient_{name}")
            try_it()

        def test_a_process_that_is_forked():
            with RecordedEvents.listening():
                child = multiprocessing.get_context("fork").Process(target=try_it)
                child.start()
                child.join(60)
                assert child.exitcode == 0
    """).assert_outcomes(passed=6)
    assert not (tmp_path / "home").exists()


def test_a_success_in_a_test_closes_no_incident_of_the_user(suite, monkeypatch, tmp_path):
    monkeypatch.setenv("RESILIENT_TASKS_HOME", str(tmp_path))
    suite("""
        from resilient_tasks import Console, resilient
        from resilient_tasks.alerts.outbox import Outbox, incident_store
        from resilient_tasks.testing import away_from_people, flush_messages

        @resilient(notify=Console())
        def fetch(problem=None):
            if problem:
                raise problem

        def test_fetch():
            fetch.outcome(ConnectionError("down"))
            assert flush_messages(20)
            with away_from_people():
                fetch()
            assert flush_messages(20)
            (incident,) = Outbox(incident_store.states()).incidents("fetch").all
            assert not incident.closed
    """).assert_outcomes(passed=1)


_CHILD = """
import sys
from resilient_tasks import Slack, resilient
from resilient_tasks.alerts.sender import flush
resilient(notify=Slack(webhook=sys.argv[1]))(lambda: 1 / 0).outcome()
assert flush(20)
"""


def test_a_child_process_of_a_test_reaches_that_tests_fake(suite, monkeypatch):
    monkeypatch.setenv("A_CHILD", _CHILD)
    suite("""
        import os, subprocess, sys

        def test_child(resilient_slack):
            command = [sys.executable, "-c", os.environ["A_CHILD"], resilient_slack.webhook_url]
            subprocess.run(command, check=True, timeout=60)
            assert len(resilient_slack.messages) == 1
    """).assert_outcomes(passed=1)
