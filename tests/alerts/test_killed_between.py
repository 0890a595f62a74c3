"""Processes are killed 200 times between a failure and its delivery: nothing that was stored is lost."""

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from resilient_tasks.alerts.outbox import Outbox
from resilient_tasks.core.store import opened_by
from resilient_tasks.state.states import States
from resilient_tasks.testing import FakeSlack, Slow

CHILDREN, SEED = 200, 5
PROGRAM = Path(__file__).with_name("forking.py")
BEGUN, STORED, LEASED, SENDING, SENT, MARKED = range(6)
STAGES = {
    BEGUN: "before the store",
    STORED: "between store and lease",
    LEASED: "between lease and send",
    SENDING: "during the send",
    SENT: "between send and mark",
    MARKED: "after the mark",
}


class Killed:
    """What the children reported before they were killed, what Slack received, and the incidents at the end."""

    def __init__(self, answer, messages, incidents):
        self.flushed, self.seen = answer["flushed"], answer["seen"]
        self.incidents = incidents
        self.messages = defaultdict(list)
        for message in messages:
            self.messages[message.text.partition(" ")[0]].append(message)

    def killed(self, *stages):
        return [operation for operation, seen in self.seen.items() if max(seen, default=BEGUN) in stages]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    url = f"sqlite:///{tmp_path_factory.mktemp('killed')}/incidents.db"
    environment = {**os.environ, "RESILIENT_TASKS_INCIDENTS": url, "RESILIENT_TASKS_NOTIFY_DEADLINE": "2"}
    with FakeSlack(channels=["#ml-alerts"], schedule=lambda _: Slow(0.004)) as slack:
        done = subprocess.run(
            [sys.executable, str(PROGRAM), slack.api_url, slack.token, str(CHILDREN), str(SEED)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=120,
            check=True,
            env=environment,
        )
        states = States(opened_by(url, 5)[0], "incidents", bound=5)
        outbox = Outbox(states)
        incidents = {operation: outbox.incidents(operation).all for operation in outbox.operations()}
        states.close()
        over = Killed(json.loads(done.stdout), slack.messages, incidents)
    hits = Counter(STAGES[max(seen, default=BEGUN)] for seen in over.seen.values())
    twice = sum(len(each) > 1 for each in over.messages.values())
    where = ", ".join(f"{hits[stage]} {stage}" for stage in STAGES.values())
    print(f"\n{CHILDREN} killed: {where}; {len(over.messages)} incidents reported, {twice} more than once")  # noqa: T201  # for -s
    return over


def test_they_were_killed_in_every_stage(killed):
    assert len(killed.seen) == CHILDREN
    for stage in (BEGUN, STORED, LEASED, SENDING, SENT):
        assert len(killed.killed(stage)) >= 3, STAGES[stage]


def test_every_stored_failure_is_delivered(killed):
    assert killed.flushed
    stored = {operation for operation, seen in killed.seen.items() if STORED in seen}
    assert len(stored) >= CHILDREN / 2
    assert stored - set(killed.messages) == set()
    # This includes children that were killed between the commit and their report of it.
    assert set(killed.incidents) == set(killed.messages)
    assert [each.deliveries for incidents in killed.incidents.values() for each in incidents if each.deliveries] == []


def test_duplicates_have_the_same_key(killed):
    again = {operation for operation, messages in killed.messages.items() if len(messages) > 1}
    # Slack had accepted it, and it was not marked; but some were killed between the mark and their report of it.
    known = set(killed.killed(SENT))
    assert len(known & again) >= len(known) / 2
    for operation, messages in killed.messages.items():
        (incident,) = killed.incidents[operation]
        assert {message.key for message in messages} == {f"{incident.id}-1"}
    keys = [messages[0].key for messages in killed.messages.values()]
    assert len(set(keys)) == len(keys)


def test_each_message_is_about_its_own_failures_and_every_failure_is_counted(killed):
    for operation, messages in killed.messages.items():
        number = operation.partition("_")[2]
        (incident,) = killed.incidents[operation]
        for message in messages:
            often = re.fullmatch(rf"{operation} failed(?: (\d) times)?: ConnectionError", message.text)
            # Failures before the store was open, on a busy machine several, are reported together.
            assert often, message.text
            assert int(often[1] or 1) == incident.total - incident.unreported
            assert re.findall(r"what failed is number (\d+)\.", message.full_text) == [number]
        said, begun = killed.seen[operation].count(STORED), killed.seen[operation].count(BEGUN)
        assert said <= incident.total <= begun, "no stored failure is lost or counted twice"
