"""Tasks and flows whose policies are named in a file."""

import cloudpickle
import pytest

from resilient_tasks import PolicyError, resilient_flow, resilient_task


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    """A file with two policies, in the current folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "resilient_tasks.toml"
    path.write_text("[policies.api]\nretry = {attempts = 3, wait = 0.01}\n[policies.once]\ndeadline = 60\n")
    return path


def slots(task):
    return [policy.slot for policy in task.plan.pipeline.policies]


def test_a_task_takes_its_policies_from_the_file(own, resilient_prefect):
    calls = []

    @resilient_task(policy="api")
    @own
    def fetch():
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionError("refused")
        return "fetched"

    @resilient_flow(policy="once")
    def flow():
        return fetch.submit().result()

    assert flow() == "fetched"
    assert len(calls) == 3
    assert slots(flow) == ["deadline"]


def test_a_copy_of_a_task_takes_another_policy():
    @resilient_task(policy="api")
    def fetch():
        return 1

    other = fetch.with_options(policy="once")
    assert (slots(fetch), slots(other), slots(other.with_options(policy=None))) == (["retry"], ["deadline"], [])
    with pytest.raises(PolicyError, match="has no policy 'apis': did you mean api"):
        fetch.with_options(policy="apis")


def test_a_task_that_crosses_to_a_worker_needs_no_file(file):
    @resilient_task(policy="api", name="by name")
    def fetch():
        return 1

    sent = cloudpickle.dumps(fetch)
    file.unlink()
    assert slots(cloudpickle.loads(sent)) == ["retry"]
