"""Runs whose process was killed: the Prefect server notices, and tells people, by automations that the CLI puts there."""

import json
import sys
from pathlib import Path

import pytest
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from resilient_tasks.cli import main
from resilient_tasks.orchestrate import automations

sys.path.insert(0, str(Path(__file__).parent))
import reading_back

KILLED = Path(__file__).with_name("flows_that_are_killed.py")


@pytest.fixture
def run(resilient_prefect, capsys):
    """Run `resilient-tasks alerts`, and return its exit code, what it printed, and its errors."""

    def run(*words):
        code = main(["alerts", *words])
        out, err = capsys.readouterr()
        return code, out, err

    yield run
    for name in ("resilient-tasks", "other"):
        automations.uninstall(name)


@pytest.fixture
def hook(resilient_prefect, resilient_slack):
    """A webhook block that leads to a Slack on loopback."""
    name = f"slack-{resilient_slack.url.rpartition(':')[2]}"
    Webhook(url=resilient_slack.webhook_url).save(name, overwrite=True)
    return name


def on_the_server(name="resilient-tasks"):
    with get_client(sync_client=True) as client:
        return {each.name: each for each in client.read_automations() if each.name.startswith(name)}


def flow_run(name):
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(flow_run_filter=FlowRunFilter(name=FlowRunFilterName(any_=[name])))
        return found[0] if found else None


def test_a_killed_run_is_marked_crashed_and_told_of_and_one_that_lives_is_not(run, hook, resilient_slack, tmp_path):
    assert run("install", "--webhook-block", hook, "--zombie-after", "10")[0] == 0
    with (
        reading_back.started(tmp_path, str(KILLED), str(tmp_path), "killed") as killed,
        reading_back.started(tmp_path, str(KILLED), str(tmp_path), "living") as living,
    ):
        for name in ("killed", "living"):
            reading_back.eventually((tmp_path / f"{name} began").exists)
        killed.kill()
        killed.wait()
        reading_back.eventually(lambda: flow_run("run-of-killed").state_name == "Crashed", within=60)
        reading_back.eventually(resilient_slack.texts, within=30)
        assert flow_run("run-of-living").state_name == "Running"
        (tmp_path / "enough").touch()
        assert living.wait(30) == 0
    assert flow_run("run-of-living").state_name == "Completed"
    assert "No sign of life for 10 s" in flow_run("run-of-killed").state.message
    (text,) = resilient_slack.texts()
    for part in ("killed crashed: flow run run-of-killed", "No sign of life for 10 s", str(flow_run("run-of-killed").id)):
        assert part in text
