"""`resilient-tasks doctor`: one line a check, with what to do, and never a hang."""

import json
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from importlib import metadata

import pytest

from resilient_tasks import Email, Slack, Webhook, resilient
from resilient_tasks.alerts import registry
from resilient_tasks.cli import main
from resilient_tasks.cli.checks import finding, installed, outside, stores
from resilient_tasks.state import states
from resilient_tasks.testing import flush_messages


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch, own_settings):
    """An empty folder as the current one and the library's home, and no variables, channels or stores of others."""
    for name in ("CONFIG", "STORE", "INCIDENTS", "QUARANTINE", "LAST_GOOD", "CHANNELS"):
        monkeypatch.delenv(f"RESILIENT_TASKS_{name}", raising=False)
    for name in ("SLACK_WEBHOOK_URL", "SLACK_BOT_TOKEN", "SMTP_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RESILIENT_TASKS_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(registry, "_known", {})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def doctor(capsys):
    """Run the doctor without Prefect, and return its exit code and its findings by check."""

    def run(*options, offline=True):
        code = main(["doctor", "--json", *(["--offline"] if offline else []), *options])
        found = json.loads(capsys.readouterr().out)
        return code, found

    return run


def of(found, check):
    return [(each["status"], each["text"]) for each in found if each["check"] == check]


def only(found, check):
    assert len(of(found, check)) == 1, of(found, check)
    return next(each for each in found if each["check"] == check)


def problems(found):
    return [each for each in found if each["status"] == "problem"]


def test_all_is_well_in_an_empty_folder(doctor):
    code, found = doctor()
    assert problems(found) == []
    assert code == 0
    assert [each["check"] for each in found] == [
        "versions", "configuration", "store", "incidents", "quarantine", "last good",
    ]  # fmt: skip


def test_each_check_prints_one_line_with_what_to_do(capsys, monkeypatch):
    monkeypatch.setenv("RESILIENT_TASKS_STOR", "x")
    assert main(["doctor", "--offline"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("warning  configuration  RESILIENT_TASKS_STOR in the environment sets nothing")
    assert lines[1].endswith("; correct the variable, or unset it")
    assert lines[-1].startswith("ok       last good")


def test_the_doctor_creates_nothing(doctor, here):
    doctor()
    assert list(here.iterdir()) == []


# Versions.


@pytest.mark.parametrize(
    ("name", "version", "part"),
    [
        ("fastapi", "0.156.0", "its server does not start from 0.155 on"),
        ("sqlalchemy", "2.1.0", "Prefect's schedules never fire"),
        ("pyarrow", "12.0.0", "a time in a zone"),
        ("rich", "1.0", "this package was not made for it"),
    ],
)
def test_a_version_that_is_known_to_clash_is_a_problem(doctor, monkeypatch, name, version, part):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda of: version if of.lower() == name else real(of))
    code, found = doctor()
    assert code == 1
    wrong = only(problems(found), "versions")
    assert part in wrong["text"]
    assert wrong["advice"].startswith('pip install "')


def test_a_library_that_is_missing_is_a_problem(monkeypatch):
    real = metadata.version

    def version(of):
        if of == "psutil":
            raise metadata.PackageNotFoundError(of)
        return real(of)

    monkeypatch.setattr(metadata, "version", version)
    assert [each.text for each in installed.versions() if each.status == "problem"] == ["psutil is not installed"]


def test_a_python_that_is_not_tested_is_a_warning(monkeypatch):
    monkeypatch.setattr(installed.sys, "version_info", (3, 15, 0))
    assert [each.status for each in installed.versions()] == ["warning"]


# Configuration.


def test_every_policy_of_the_file_is_checked(doctor, here):
    (here / "resilient_tasks.toml").write_text("[policies.good]\nretry = 5\n[policies.bad]\nretry = {atempts = 5}\n")
    code, found = doctor()
    assert code == 1
    assert only(problems(found), "configuration")["about"] == "bad"
    assert "did you mean attempts?" in only(problems(found), "configuration")["text"]
    assert any("has 1 policy: good" in text for _, text in of(found, "configuration"))


def test_a_variable_of_a_policy_that_sets_nothing_is_a_warning(doctor, here, monkeypatch):
    (here / "resilient_tasks.toml").write_text("[policies.good]\nretry = 5\n")
    monkeypatch.setenv("RESILIENT_TASKS_POLICIES__GOOD__RETRY__ATEMPTS", "5")
    code, found = doctor()
    assert code == 0
    assert any("RETRY has no ATEMPTS" in text for status, text in of(found, "configuration") if status == "warning")


def test_a_broken_file_is_a_problem(doctor, here):
    (here / "resilient_tasks.toml").write_text("[policies")
    assert "is not valid TOML" in only(problems(doctor()[1]), "configuration")["text"]


def test_variables_of_policies_without_a_file_are_a_warning(doctor, monkeypatch):
    monkeypatch.setenv("RESILIENT_TASKS_POLICIES__GOOD__RETRY", "5")
    assert only(doctor()[1], "configuration")["status"] == "warning"


@pytest.mark.parametrize(("name", "word"), [("ENABLED", "policies are switched off"), ("CHANNELS", "alerts are")])
def test_what_is_switched_off_is_a_warning(doctor, own_settings, monkeypatch, name, word):
    monkeypatch.setenv("RESILIENT_TASKS_CHANNELS", "true")
    own_settings(**{name.lower(): False})
    (text,) = [text for status, text in of(doctor()[1], "configuration") if status == "warning"]
    assert word in text


def test_a_wrong_setting_is_a_problem(doctor, monkeypatch):
    monkeypatch.setenv("RESILIENT_TASKS_NOTIFY_DEADLINE", "soon")
    assert "RESILIENT_TASKS_NOTIFY_DEADLINE" in problems(doctor()[1])[0]["text"]


# Stores.


@pytest.fixture
def database(here, own_settings, monkeypatch):
    """A store in a file that exists."""
    monkeypatch.setenv("RESILIENT_TASKS_STORE", "memory:")
    path = here / "states.db"
    path.touch(mode=0o600)
    own_settings(store=f"sqlite:///{path}", store_timeout=30)
    yield path
    states.shared.close()


def test_a_store_that_can_be_written_is_well(doctor, database):
    code, found = doctor()
    assert code == 0
    assert "can be written, and answers in" in only(found, "store")["text"]


def test_a_store_that_answers_later_than_calls_wait_is_a_warning(doctor, database, own_settings):
    own_settings(store_timeout=1e-9)
    assert "RESILIENT_TASKS_STORE_TIMEOUT" in only(doctor()[1], "store")["advice"]


def test_a_locked_store_is_a_problem_within_its_time(doctor, database):
    with sqlite3.connect(database) as other:
        other.execute("CREATE TABLE t (x)")
        other.execute("BEGIN IMMEDIATE")
        code, found = doctor("--within", "0.2")
        other.execute("ROLLBACK")
    assert code == 1
    assert any("another process holds its lock" in each["text"] for each in problems(found))


def test_a_store_that_is_no_database_is_a_problem_and_stays_where_it_is(doctor, database):
    database.write_bytes(b"this is no database, and longer than a header is" * 100)
    before = database.read_bytes()
    code, found = doctor()
    assert code == 1
    assert "not a database" in problems(found)[0]["text"]
    assert database.read_bytes() == before
    assert [each.name for each in database.parent.iterdir() if "broken" in each.name] == []


def test_a_store_in_a_folder_that_cannot_be_written_is_a_problem(doctor, here, own_settings, monkeypatch):
    (here / "a file").touch()
    monkeypatch.setenv("RESILIENT_TASKS_STORE", "memory:")
    own_settings(store=f"sqlite:///{here}/a file/states.db")
    assert doctor()[0] == 1


def test_a_redis_that_is_not_there_is_a_problem_without_its_password(doctor, own_settings, monkeypatch):
    monkeypatch.setenv("RESILIENT_TASKS_STORE", "memory:")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        own_settings(store=f"redis://:hunter2secret@127.0.0.1:{unused.getsockname()[1]}/0")
        code, found = doctor()
    assert code == 1
    assert "cannot be used" in only(problems(found), "store")["text"]
    assert "hunter2secret" not in json.dumps(found)


def test_a_server_that_never_answers_does_not_hang_the_doctor(doctor, own_settings, monkeypatch):
    monkeypatch.setenv("RESILIENT_TASKS_STORE", "memory:")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        own_settings(store=f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began = time.monotonic()
        code, found = doctor("--within", "0.3")
    assert code == 1
    assert only(problems(found), "store")["text"]
    assert time.monotonic() - began < 60


def test_a_store_on_a_network_drive_is_a_problem(database, monkeypatch):
    import psutil

    class Mount:
        mountpoint, fstype = str(database.parent), "nfs4"

    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: [Mount])
    assert [each.text.partition(" is on ")[2] for each in stores.shared_store(5) if each.status == "problem"] == [
        "a network file system (nfs4), where SQLite's locks do not work"
    ]


@pytest.mark.parametrize(("seconds", "status"), [(0.5, "ok"), (-1.9, "ok"), (3, "problem"), (-700, "problem")])
def test_clocks_that_differ_are_a_problem(seconds, status):
    found = stores.skew(seconds, "the store")
    assert found.status == status
    assert status == "ok" or ("behind" if seconds > 0 else "ahead of") in found.text


# Incidents.


@pytest.mark.skipif(sys.platform == "win32", reason="its files have no such permissions")
@pytest.mark.parametrize("what", ["home/incidents.db", "home"])
def test_incidents_that_others_can_read_are_a_problem(doctor, here, what):
    (here / "home").mkdir(mode=0o700)
    (here / "home/incidents.db").touch(mode=0o600)
    assert doctor()[0] == 0
    (here / what).chmod(0o755)
    code, found = doctor()
    assert code == 1
    assert only(problems(found), "incidents")["advice"].startswith("chmod ")


def test_a_large_file_of_incidents_is_a_warning(doctor, here, monkeypatch):
    (here / "home").mkdir(mode=0o700)
    (here / "home/incidents.db").touch(mode=0o600)
    monkeypatch.setattr(stores, "_LARGE", -1)
    code, found = doctor()
    assert code == 0
    assert ("warning") in [status for status, _ in of(found, "incidents")]


def test_incidents_in_memory_are_a_warning(doctor, own_settings, monkeypatch):
    monkeypatch.setenv("RESILIENT_TASKS_INCIDENTS", "")
    own_settings(incidents="memory:")
    assert only(doctor()[1], "incidents")["status"] == "warning"


@pytest.fixture
def unsent(here, own_settings, monkeypatch):
    """A message that waits in a file, as its channel does not answer."""
    monkeypatch.setenv("RESILIENT_TASKS_INCIDENTS", "")
    from resilient_tasks.alerts.outbox import use_incidents
    from resilient_tasks.state.sqlite import SQLiteStore

    url = f"sqlite:///{here}/incidents.db"
    (here / "incidents.db").touch(mode=0o600)
    own_settings(incidents=url, notify_deadline=0.2)
    with socket.socket() as unused, use_incidents(SQLiteStore(url, bound=30)):
        unused.bind(("127.0.0.1", 0))

        @resilient(notify=Webhook(f"http://127.0.0.1:{unused.getsockname()[1]}/"))
        def fetch():
            raise ConnectionError("down")

        fetch.outcome()
        flush_messages(0.5)
        yield


def test_a_message_that_waits_is_named_with_its_problem(doctor, unsent, monkeypatch):
    code, found = doctor()
    assert code == 0
    assert any("1 message waits, the oldest for" in text for _, text in of(found, "incidents"))
    monkeypatch.setattr(stores, "_LONG", -1.0)
    code, found = doctor()
    assert code == 1
    assert "outbox flush" in only(problems(found), "incidents")["advice"]


# Folders.


@pytest.mark.parametrize(("setting", "check"), [("quarantine", "quarantine"), ("last_good", "last good")])
class TestFolders:
    def test_a_folder_is_written_to_and_left_empty(self, doctor, here, own_settings, setting, check):
        (here / "kept").mkdir()
        own_settings(**{setting: here / "kept"})
        assert "can be written" in only(doctor()[1], check)["text"]
        assert list((here / "kept").iterdir()) == []

    def test_a_file_in_its_place_is_a_problem(self, doctor, here, own_settings, setting, check):
        (here / "kept").touch()
        own_settings(**{setting: here / "kept"})
        code, found = doctor()
        assert code == 1
        assert f"RESILIENT_TASKS_{setting.upper()}" in only(problems(found), check)["advice"]

    def test_a_full_disk_is_a_problem(self, doctor, monkeypatch, setting, check):
        from resilient_tasks.cli.checks import folders

        class Disk:
            total, free = 1 << 40, 1 << 20

        monkeypatch.setattr(folders.shutil, "disk_usage", lambda _: Disk)
        assert "0.0 GiB free" in only(problems(doctor()[1]), check)["text"]

    def test_a_url_is_written_to(self, doctor, own_settings, setting, check):
        own_settings(**{setting: "memory://kept"})
        assert only(doctor()[1], check)["text"] == "memory://kept can be written"

    def test_an_unknown_url_is_a_problem(self, doctor, own_settings, setting, check):
        own_settings(**{setting: "nosuch://kept"})
        assert only(problems(doctor()[1]), check)


# Channels.


def reached(*channels, within=5.0):
    for channel in channels:
        registry.register(channel)
    return [each for _, each in finding.run(outside.channels(within))]


def test_slack_is_asked_whether_it_accepts_the_token_and_no_message_is_sent(resilient_slack):
    found = reached(Slack(token=resilient_slack.token, channel="#ops", api_url=resilient_slack.api_url))
    assert [each.status for each in found] == ["ok"]
    assert "Slack accepts the token" in found[0].text
    assert resilient_slack.messages == []


def test_a_token_that_slack_refuses_is_a_problem(resilient_slack):
    (found,) = reached(Slack(token="xoxb-wrong", channel="#ops", api_url=resilient_slack.api_url))
    assert (found.status, found.about) == ("problem", "slack:#ops")
    assert "invalid_auth" in found.text
    assert "xoxb-wrong" not in found.text


def test_a_slack_without_a_way_to_post_is_a_problem():
    (found,) = reached(Slack(channel="#ops"))
    assert "SLACK_WEBHOOK_URL" in found.text


def test_the_webhook_of_the_environment_is_only_connected_to(resilient_slack, monkeypatch):
    monkeypatch.setenv("SLACK_WEBHOOK_URL", resilient_slack.webhook_url)
    found = reached(Webhook(resilient_slack.webhook_url))
    assert [(each.status, each.about.partition(":")[0]) for each in found] == [("ok", "slack"), ("ok", "webhook")]
    assert resilient_slack.requests == []


@pytest.mark.parametrize("how", ["starttls", "tls"])
def test_a_mail_server_greets_and_accepts_the_login_without_a_mail(resilient_smtp, how):
    (found,) = reached(Email("ops@example.org", **getattr(resilient_smtp, how)))
    assert found.status == "ok"
    assert "accepts the login" in found.text
    assert resilient_smtp.messages == []


def test_a_wrong_password_for_mail_is_a_problem(resilient_smtp):
    (found,) = reached(Email("ops@example.org", **{**resilient_smtp.starttls, "password": "wrong-secret"}))
    assert found.status == "problem"
    assert "refused the username and password" in found.text
    assert "wrong-secret" not in found.text


@pytest.mark.parametrize("make", [Webhook, lambda _: Slack(webhook="https://127.0.0.1:1/x")])
def test_a_channel_that_is_not_there_is_a_problem(make):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        (found,) = reached(make(f"http://127.0.0.1:{unused.getsockname()[1]}/"))
    assert found.status == "problem"
    assert "network" in found.advice


def test_a_receiver_without_tls_where_it_is_expected_is_a_problem(resilient_api):
    (found,) = reached(Webhook(resilient_api.url.replace("http://", "https://")), within=2.0)
    assert found.status == "problem"


def test_a_mail_server_that_never_greets_does_not_hang_the_doctor():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        channel = Email("ops@example.org", host="127.0.0.1", port=silent.getsockname()[1], security="none")
        (found,) = reached(channel, within=0.2)
    assert found.status == "problem"


def test_channels_of_policies_in_the_file_are_known(here, resilient_smtp):
    table = {**resilient_smtp.starttls, "to": "ops@example.org"}
    written = ", ".join(
        f"{key} = {json.dumps(value if isinstance(value, int) else str(value))}" for key, value in table.items()
    )
    (here / "resilient_tasks.toml").write_text(f"[policies.a]\nnotify = {{email = {{{written}}}}}")
    (found,) = reached()
    assert (found.status, found.about) == ("ok", "email:ops@example.org")


def test_channels_that_are_switched_off_are_not_connected_to(own_settings, monkeypatch, resilient_api):
    monkeypatch.setenv("RESILIENT_TASKS_CHANNELS", "true")
    own_settings(channels=False)
    (found,) = reached(Webhook(resilient_api.url))
    assert found.status == "skipped"
    assert resilient_api.requests == []


def test_a_proxy_of_the_environment_is_connected_to_instead(resilient_api, monkeypatch):
    monkeypatch.setenv("https_proxy", resilient_api.url)
    monkeypatch.delenv("no_proxy", raising=False)
    (found,) = reached(Webhook("https://hooks.example.invalid/x"))
    assert (found.status, "the proxy 127.0.0.1" in found.text) == ("ok", True)


def test_a_channel_of_another_kind_is_skipped():
    class Pager:
        name = "pager"

        def send(self, message, *, within):
            raise AssertionError

    (found,) = reached(Pager())
    assert (found.status, found.about) == ("skipped", "pager")


def test_without_a_channel_the_line_says_how_to_name_one():
    (found,) = reached()
    assert "--module" in found.text


def test_a_module_that_cannot_be_imported_is_a_problem(doctor):
    code, found = doctor("--module", "no_such_module_of_mine")
    assert code == 1
    assert "no_such_module_of_mine cannot be imported" in only(found, "modules")["text"]


def test_a_module_that_exits_while_it_is_imported_is_a_problem(doctor, tmp_path, monkeypatch):
    (tmp_path / "exits_before_the_checks.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    code, found = doctor("--module", "exits_before_the_checks")
    assert code == 1
    assert "exits_before_the_checks cannot be imported: it exits" in only(found, "modules")["text"]


# Time limits.


def test_a_check_that_never_ends_is_a_problem_and_the_others_are_reported():
    never = threading.Event()
    checks = [
        finding.Check("hangs", lambda: (never.wait(), finding.ok("no"))[1], 0.05),
        finding.Check("raises", lambda: 1 / 0, 5),
        finding.Check("is well", lambda: finding.ok("yes"), 5),
        finding.Check("has nothing to say", list, 5),
    ]
    found = finding.run(checks)
    never.set()
    assert [(name, each.status) for name, each in found] == [
        ("hangs", "problem"), ("raises", "problem"), ("is well", "ok"),
    ]  # fmt: skip
    assert found[0][1].text == "no answer within 0.05 s"
    assert "ZeroDivisionError" in found[1][1].text


def test_the_command_ends_although_a_check_hangs(here):
    program = (
        "import sys, threading\n"
        "from resilient_tasks.cli import main\n"
        "from resilient_tasks.cli.checks import installed\n"
        "installed.versions = lambda: threading.Event().wait()\n"
        "sys.exit(main(['doctor', '--offline', '--within', '0.2']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("problem  versions       no answer within 0.2 s")
