"""What `resilient-tasks doctor` says of Prefect's server."""

import json
import socket
import time

import prefect
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from resilient_tasks.cli import main
from resilient_tasks.cli.checks import outside
from resilient_tasks.prefect import server


def test_a_server_of_this_version_with_the_same_clock_is_well(resilient_prefect):
    answers, clock = outside.prefect(30)
    assert (answers.status, clock.status) == ("ok", "ok")
    assert f"{resilient_prefect} answers, with Prefect {prefect.__version__}" in answers.text


@pytest.mark.parametrize(
    ("version", "status", "part"),
    [("3.0.1", "warning", "upgrade the server"), ("4.0.0", "problem", "use one"), ("", "ok", "Cloud")],
)
def test_a_server_of_another_version_is_named(resilient_prefect, monkeypatch, version, status, part):
    monkeypatch.setattr(server, "reach", lambda _: server.Server(resilient_prefect, version, None))
    (found,) = outside.prefect(30)
    assert found.status == status
    assert part in found.text + found.advice


def test_a_server_with_another_clock_is_a_problem(resilient_prefect, monkeypatch):
    monkeypatch.setattr(server, "reach", lambda _: server.Server(resilient_prefect, prefect.__version__, 90.0))
    assert [found.status for found in outside.prefect(30)] == ["ok", "problem"]


@pytest.mark.parametrize(("ahead", "read"), [(0.0, 0.0), (5.0, 5.0), (-5.0, -4.0)])
def test_the_clock_is_read_from_the_date_of_an_answer(ahead, read):
    from email.utils import formatdate

    now = float(int(time.time()))
    assert server._ahead(formatdate(now + ahead), now) == pytest.approx(read)
    assert server._ahead(None, now) is None
    assert server._ahead("yesterday", now) is None


def test_a_server_that_is_not_there_is_a_problem_and_so_is_one_that_never_answers(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("RESILIENT_TASKS_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        with temporary_settings({PREFECT_API_URL: url}):
            assert main(["doctor", "--json", "--within", "0.5"]) == 1
    with temporary_settings({PREFECT_API_URL: url}):
        (gone,) = outside.prefect(5)
    found = [each for each in json.loads(capsys.readouterr().out) if each["check"] == "prefect"]
    assert [each["status"] for each in found] == ["problem"]
    assert f"{url} does not answer" in found[0]["text"]
    assert "prefect server start" in gone.advice


def test_without_a_url_there_is_no_server_to_ask():
    with temporary_settings({PREFECT_API_URL: None}):
        (found,) = outside.prefect(5)
    assert found.status == "skipped"
