"""The command line for alerts: unsent messages, incidents and silences."""

import json
import sys

import pytest

from resilient_tasks import resilient
from resilient_tasks.alerts import delivery, outbox, registry
from resilient_tasks.alerts import sender as senders
from resilient_tasks.cli import main
from resilient_tasks.cli.printing import UsageError, duration
from resilient_tasks.testing import flush_messages


class Channel:
    """A channel that is down until a test changes that."""

    name = "pager"
    down = True

    def __init__(self):
        self.occasions = []

    def send(self, message, *, within):
        if self.down:
            raise ConnectionError("refused")
        self.occasions.append(message.occasion)


@pytest.fixture
def url(own_settings, monkeypatch, tmp_path):
    """Incidents in a file, which this process and the command line share."""
    monkeypatch.setenv("RESILIENT_TASKS_INCIDENTS", "")
    monkeypatch.setattr(outbox, "incident_store", outbox.ConfiguredStates(outbox._where, stand_in=False, patience=5))
    for module in ("resilient_tasks.alerts.sender", "resilient_tasks.cli.outbox"):
        monkeypatch.setattr(f"{module}.incident_store", outbox.incident_store)
    monkeypatch.setattr(delivery, "GAP", 0.0)
    monkeypatch.setattr(senders, "_sender", senders.Sender())
    (tmp_path / "incidents.db").touch()
    url = f"sqlite:///{tmp_path}/incidents.db"
    own_settings(incidents=url, store_timeout=5, notify_deadline=2)
    yield url
    senders.sender().stop()
    outbox.incident_store.close()


@pytest.fixture
def run(url, capsys):
    """Run one command, and return its exit code and what it printed."""

    def run(*words, given=("--incidents", url)):
        code = main([*words, *given])
        out, err = capsys.readouterr()
        return code, out + err

    return run


@pytest.fixture
def failing(url, monkeypatch):
    """A function that fails, and its channel, which is down."""
    channel = Channel()

    @resilient(notify=channel)
    def fetch(answer):
        if isinstance(answer, Exception):
            raise answer

    fetch.outcome(ConnectionError("no route"))
    assert not flush_messages(0.5)
    yield fetch, channel
    registry._known.pop("pager", None)


class TestOutbox:
    def test_reports_an_empty_outbox(self, run):
        assert run("outbox", "status") == (0, "nothing waits\n")
        assert run("outbox", "flush") == (0, "0 sent, nothing waits\n")

    def test_reports_unsent_messages_and_why(self, run, failing):
        code, out = run("outbox", "status")
        assert code == 1
        head, row, count = out.splitlines()
        assert head.split()[:3] == ["channel", "operation", "message"]
        assert row.split()[:3] == ["pager", "fetch", "first"]
        assert "ConnectionError: refused" in row
        assert count == "1 message waits"
        (found,) = json.loads(run("outbox", "status", "--json")[1])
        assert (found["operation"], found["channel"], found["error"]) == ("fetch", "pager", "ConnectionError")

    def test_flush_sends_it_now(self, run, failing):
        _, channel = failing
        channel.down = False
        assert run("outbox", "flush") == (0, "1 sent, nothing waits\n")
        assert channel.occasions == ["first"]

    def test_flush_reports_why_it_could_not_send(self, run, failing):
        code, out = run("outbox", "flush", "--within", "0.2")
        assert (code, out.splitlines()) == (1, ["0 sent, 1 message waits", "pager: ConnectionError: refused"])

    def test_flush_names_an_unknown_channel(self, run, failing, monkeypatch):
        monkeypatch.setattr(registry, "_known", {})
        code, out = run("outbox", "flush", "--within", "0.2")
        assert code == 1
        assert "Channel pager is not registered here: pass the module" in out
        assert json.loads(run("outbox", "flush", "--json")[1]) == {"sent": 0, "left": 1, "unknown": ["pager"]}

    def test_flush_imports_the_module_that_defines_the_channel(self, run, failing, monkeypatch, tmp_path, capsys):
        monkeypatch.setattr(registry, "_known", {})
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [*sys.path])
        (tmp_path / "my_flows.py").write_text(
            "from resilient_tasks import resilient\n"
            "class Pager:\n"
            "    name = 'pager'\n"
            "    def send(self, message, *, within):\n"
            "        print('paged:', message.headline())\n"
            "@resilient(notify=Pager())\n"
            "def fetch(): pass\n"
        )
        code, out = run("outbox", "flush", "--module", "my_flows")
        assert (code, out.splitlines()) == (0, ["paged: fetch failed: ConnectionError", "1 sent, nothing waits"])

    def test_purge_deletes_the_chosen_messages(self, run, failing):
        code, out = run("outbox", "purge")
        assert (code, out) == (
            2,
            "resilient-tasks: Select messages with --channel, --operation, --given-up, or --all.\n",
        )
        for words in (("--given-up",), ("--channel", "other"), ("--operation", "other")):
            assert run("outbox", "purge", *words) == (0, "0 messages purged\n")
        assert run("outbox", "purge", "--channel", "pager", "--operation", "fetch") == (0, "1 message purged\n")
        assert run("outbox", "status")[0] == 0

    @pytest.mark.parametrize(
        ("place", "complaint"),
        [
            ("memory:", "Incidents are in the memory of each process"),
            ("nonsense", "a store is memory:"),
        ],
    )
    def test_refuses_a_store_that_is_not_shared(self, run, place, complaint):
        code, out = run("outbox", "status", given=("--incidents", place))
        assert code == 2
        assert complaint in out

    def test_refuses_a_store_that_does_not_answer(self, run, monkeypatch):
        monkeypatch.setattr("resilient_tasks.cli.outbox._PATIENCE", 0.05)
        code, out = run("outbox", "status", given=("--incidents", "redis://127.0.0.1:1/0"))
        assert (code, "redis://127.0.0.1:1/0 does not answer." in out) == (2, True)


class TestIncidents:
    def test_lists_incidents(self, run, failing):
        fetch, _ = failing
        assert run("alerts", "list")[0] == 0
        row = run("alerts", "list")[1].splitlines()[1]
        assert row.split()[1:4] == ["fetch", "failed", "1"]
        assert row.endswith("ConnectionError: no route")
        fetch(1)
        flush_messages(0.2)
        (found,) = json.loads(run("alerts", "list", "--json")[1])["incidents"]
        assert (found["status"], found["failures"], found["channels"]) == ("recovered", 1, ["pager"])

    def test_reports_that_there_are_no_incidents(self, run):
        assert run("alerts", "list") == (0, "no incidents\n")

    def test_silences_and_unsilences(self, run):
        code, out = run("alerts", "silence", "fetch*", "--for", "2h", "--reason", "deploy")
        assert (code, out) == (
            0,
            "fetch* is silenced for 2 h: failures are counted, and reported afterwards\n",
        )
        assert "silenced for 2 h: fetch* (deploy)" in run("alerts", "list")[1]
        assert json.loads(run("alerts", "list", "--json")[1])["silences"][0]["pattern"] == "fetch*"
        assert run("alerts", "unsilence", "x") == (
            2,
            "resilient-tasks: x is not silenced. Silenced: fetch*.\n",
        )
        assert run("alerts", "unsilence", "fetch*") == (0, "fetch* sends alerts again\n")
        assert run("alerts", "list") == (0, "no incidents\n")

    @pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("10m", 600), ("1.5h", 5400), ("2 d", 172800)])
    def test_accepts_times_with_and_without_units(self, text, seconds):
        assert duration("--for", 1)(text) == seconds

    @pytest.mark.parametrize("text", ["", "soon", "0", "-1h", "1 fortnight"])
    def test_refuses_an_invalid_time(self, text):
        with pytest.raises(UsageError, match="--for takes a time such as 90, 10m, 2h or 1d"):
            duration("--for", 1)(text)


class TestMissingThings:
    @pytest.mark.parametrize(
        "words",
        [("outbox", "status"), ("outbox", "flush"), ("outbox", "purge", "--all"), ("alerts", "list")],
        ids=" ".join,
    )
    def test_a_missing_file_of_incidents_is_an_error_and_not_created(self, run, tmp_path, words):
        code, said = run(*words, given=("--incidents", f"sqlite:///{tmp_path}/incidnts.db"))
        assert (code, "incidnts.db: --incidents names the store" in said) == (2, True)
        assert not (tmp_path / "incidnts.db").exists()

    def test_a_missing_module_is_an_error(self, run):
        code, said = run("outbox", "flush", "--module", "no_such_module")
        assert (code, "--module no_such_module cannot be imported" in said) == (2, True)

    def test_a_module_that_exits_while_it_is_imported_is_an_error(self, run, tmp_path, monkeypatch):
        (tmp_path / "exits_before_flushing.py").write_text("raise SystemExit(0)\n")
        monkeypatch.syspath_prepend(tmp_path)
        code, said = run("outbox", "flush", "--module", "exits_before_flushing")
        assert (code, "--module exits_before_flushing cannot be imported: it exits" in said) == (2, True)

    def test_flush_takes_a_time_with_its_unit(self, run):
        assert run("outbox", "flush", "--within", "2s")[0] == 0
        assert run("outbox", "flush", "--within", "soon")[0] == 2


class TestChannelsOfTheEnvironment:
    """Slack channels that need only a token in the environment need no `--module`."""

    def test_are_registered_by_their_names(self, monkeypatch, resilient_slack):
        from resilient_tasks.alerts import registry
        from resilient_tasks.cli import outbox

        monkeypatch.setattr(registry, "_known", {})
        monkeypatch.setenv("SLACK_WEBHOOK_URL", resilient_slack.webhook_url)
        outbox._register_slack_of_environment(
            ["slack", "slack:#on-call", "slack:C12345678", "slack:0a1b2c3d", "console"]
        )
        assert set(registry.names()) == {"slack", "slack:#on-call", "slack:C12345678"}

    def test_are_not_registered_while_channels_are_off(self, own_settings, monkeypatch, capsys):
        monkeypatch.setenv("RESILIENT_TASKS_CHANNELS", "")
        own_settings(channels=False)
        assert main(["outbox", "flush"]) == 2
        assert "turns channels off" in capsys.readouterr().err
