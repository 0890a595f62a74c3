"""Runs whose process was killed: automations that the CLI installs mark them and send alerts."""

import json
import sys
from pathlib import Path

import pytest
from prefect import flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.settings import PREFECT_API_URL, PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Crashed, Running

from resilient_tasks.cli import main
from resilient_tasks.prefect import automations

sys.path.insert(0, str(Path(__file__).parent))
import reading_back

KILLED = Path(__file__).with_name("flows_that_are_killed.py")


@pytest.fixture
def run(resilient_prefect, capsys):
    """Run `resilient-tasks alerts`, and return its exit code, output and errors."""

    def run(*words):
        code = main(["alerts", *words])
        out, err = capsys.readouterr()
        return code, out, err

    yield run
    for name in ("resilient-tasks", "other"):
        automations.uninstall(name)


@pytest.fixture
def hook(resilient_prefect, resilient_slack):
    """A webhook block for a Slack on loopback."""
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


def sent_a_heartbeat(name):
    """Return whether the server has received a heartbeat of this run: a run killed before that is not watched."""
    about = f"prefect.flow-run.{flow_run(name).id}"
    wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": {"id": [about]}}
    with get_client(sync_client=True) as client:
        return client.request("POST", "/events/filter", json={"filter": wanted}).json()["events"]


def crash_of(client, name):
    """Crash a run of the flow `name`, as a worker would report it."""
    made = client.create_flow_run(flow(lambda: None, name=name), state=Running())
    client.set_flow_run_state(made.id, Crashed(message="the infrastructure is gone"))
    return made


def test_a_killed_run_is_marked_crashed_and_alerted_and_a_live_one_is_not(run, hook, resilient_slack, tmp_path):
    assert run("install", "--webhook-block", hook, "--zombie-after", "10")[0] == 0
    with (
        reading_back.started(tmp_path, str(KILLED), str(tmp_path), "killed") as killed,
        reading_back.started(tmp_path, str(KILLED), str(tmp_path), "living") as living,
    ):
        for name in ("killed", "living"):
            reading_back.eventually((tmp_path / f"{name} began").exists)
            reading_back.eventually(lambda name=name: sent_a_heartbeat(f"run-of-{name}"))
        killed.kill()
        killed.wait()
        reading_back.eventually(lambda: flow_run("run-of-killed").state_name == "Crashed", within=60)
        reading_back.eventually(resilient_slack.texts, within=30)
        assert flow_run("run-of-living").state_name == "Running"
        (tmp_path / "enough").touch()
        assert living.wait(30) == 0
    assert flow_run("run-of-living").state_name == "Completed"
    dead = flow_run("run-of-killed")
    assert dead.state.message.startswith("No sign of life for 10 s")
    (text,) = resilient_slack.texts()
    for part in ("killed crashed: flow run run-of-killed", "No sign of life for 10 s", f"/runs/flow-run/{dead.id}"):
        assert part in text


def test_further_crashes_of_a_flow_alert_only_after_the_cool_down(run, resilient_slack, resilient_api):
    """With a notification block, which has a different template."""
    resilient_api.serve("/alert", "ok")
    CustomWebhookNotificationBlock(
        name="ops", url=f"{resilient_api.url}/alert", json_data={"subject": "{{subject}}", "body": "{{body}}"}
    ).save("ops", overwrite=True)
    block = f"{CustomWebhookNotificationBlock.get_block_type_slug()}/ops"
    assert run("install", "--block", block, "--zombie-after", "900")[0] == 0
    with get_client(sync_client=True) as client:
        first = crash_of(client, "one")
        reading_back.eventually(lambda: resilient_api.requests, within=30)
        crash_of(client, "one")
        crash_of(client, "another")
        reading_back.eventually(lambda: len(resilient_api.requests) > 1, within=30)
    alert, of_another = (json.loads(request.body) for request in resilient_api.requests)
    assert alert["subject"] == f"one crashed: flow run {first.name}"
    assert alert["body"].splitlines()[1] == "the infrastructure is gone"
    assert f"/runs/flow-run/{first.id}" in alert["body"]
    assert "More crashes of this flow within 300 s send no alert." in alert["body"]
    assert of_another["subject"].startswith("another crashed")


def test_installing_twice_updates_the_existing_automations(run, hook):
    code, out, _ = run("install", "--webhook-block", hook, "--zombie-after", "900")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["created", "created"]
    code, out, _ = run("install", "--webhook-block", hook, "--zombie-after", "1200", "--cooldown", "0")
    assert [line.split()[0] for line in out.splitlines()[1:3]] == ["updated", "updated"]
    there = on_the_server()
    assert set(there) == {"resilient-tasks: no sign of life", "resilient-tasks: a flow run crashed"}
    assert there["resilient-tasks: no sign of life"].trigger.within.total_seconds() == 1200
    assert there["resilient-tasks: a flow run crashed"].trigger.for_each == {"prefect.resource.id"}


def test_a_paused_automation_stays_paused(run):
    run("install", "--no-notify", "--zombie-after", "900")
    with get_client(sync_client=True) as client:
        client.pause_automation(on_the_server()["resilient-tasks: no sign of life"].id)
    _, out, _ = run("install", "--no-notify", "--zombie-after", "901")
    assert "(still paused)" in out
    assert not on_the_server()["resilient-tasks: no sign of life"].enabled


def test_a_dry_run_changes_nothing_and_lists_the_planned_changes(run, hook):
    code, out, _ = run("install", "--webhook-block", hook, "--dry-run", "--json")
    steps = json.loads(out)["automations"]
    assert code == 0
    assert [step["done"] for step in steps] == ["would be created"] * 2
    assert steps[0]["automation"]["trigger"]["posture"] == "Proactive"
    assert on_the_server() == {}


def test_uninstalling_a_name_removes_its_automations_only(run):
    run("install", "--no-notify", "--zombie-after", "900")
    run("install", "--no-notify", "--zombie-after", "900", "--name", "other")
    assert json.loads(run("uninstall", "--dry-run", "--json")[1])["automations"][0]["done"] == "would be removed"
    assert len(on_the_server()) == 1
    assert "removed  resilient-tasks: no sign of life" in run("uninstall")[1]
    assert on_the_server() == {}
    assert set(on_the_server("other")) == {"other: no sign of life"}
    assert run("uninstall") == (0, "no automations of resilient-tasks\n", "")


def test_a_missing_block_or_one_that_cannot_send_alerts_is_refused_and_usable_ones_are_named(run, hook):
    Secret(value="42").save("silent", overwrite=True)
    for block, why in (
        ("slack-webhook/nowhere", "There is no block slack-webhook/nowhere"),
        ("secret/silent", "cannot send alerts"),
        ("nothing", "by its type and its name"),
    ):
        code, _, err = run("install", "--block", block, "--zombie-after", "900")
        assert code == 2
        assert why in err
        assert (f"webhook/{hook}" in err) is (block != "nothing")
    assert on_the_server() == {}


def test_a_limit_shorter_than_the_heartbeat_interval_is_refused(run):
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: 60}):
        code, _, err = run("install", "--no-notify", "--zombie-after", "60")
        assert code == 2
        assert "live runs would be marked Crashed" in err
        assert "to allow for a late one" in run("install", "--no-notify")[1]
        assert "a single heartbeat is late" in run("install", "--no-notify", "--zombie-after", "90")[1]
    assert run("install", "--no-notify", "--zombie-after", "9")[0] == 2
    assert run("install", "--no-notify", "--cooldown", "-1")[0] == 2


def test_without_heartbeats_it_names_the_setting(run):
    _, out, _ = run("install", "--no-notify")
    assert "set PREFECT_FLOWS_HEARTBEAT_FREQUENCY, for example to 30" in out
    assert on_the_server()["resilient-tasks: no sign of life"].trigger.within.total_seconds() == 90


def test_without_a_server_it_names_the_setting_and_starts_none(run):
    with temporary_settings({PREFECT_API_URL: None}):
        code, _, err = run("install", "--no-notify")
    assert code == 2
    assert "set PREFECT_API_URL" in err


def test_a_server_that_does_not_answer_is_named(run, resilient_api):
    with resilient_api.offline(), temporary_settings({PREFECT_API_URL: f"{resilient_api.url}/api"}):
        code, _, err = run("uninstall")
    assert code == 2
    assert f"{resilient_api.url}/api does not answer" in err
