"""A warm process that forks children which fail and are killed; at its end it sends what they left behind.

    python tests/alerts/forking.py <API of the fake Slack> <its token> <children> <seed>

Each child has its own operation, and so its own incident. It fails one to three times, and reports its progress on a
pipe. It is killed a moment after it has reached a random place, wherever it is by then. Between two places it pauses
for a few random milliseconds, as some of them lie within microseconds of each other.

Two constants of the library are changed: messages to a channel need no pause, and other processes may send the delivery
of a dead one 0.2 s after its deadline. Only every fourth child scans for deliveries that others left behind, which all
processes do otherwise: so the children mostly send their own.

Prints one line of JSON: the places that each child reached.
"""

import json
import os
import random
import selectors
import signal
import sys
import time
from dataclasses import dataclass, field

# Imported at first use: the children find it loaded.
import slack_sdk  # noqa: F401
import structlog  # noqa: F401

import resilient_tasks.state.sqlite  # noqa: F401
from resilient_tasks import Notify, Slack, resilient
from resilient_tasks.alerts import delivery, dispatcher
from resilient_tasks.alerts.outbox import Outbox
from resilient_tasks.testing import flush_messages

#: The places of a child: it has begun, stored the failure, leased the delivery, begun to send it, sent it, marked it.
PLACES = "begun", "stored", "leased", "sending", "sent", "marked"
AT_ONCE = 5  # children that live at the same time
PAUSE, DELAY = 0.012, 0.006  # seconds at most between two places, and from a place to the signal
PATIENCE = 1.0  # seconds for a child to reach its place: another one may have sent its delivery
FLUSH = 25.0

delivery.GAP = 0.0
dispatcher._GRACE = 0.2


@dataclass
class Child:
    """One child: where to kill it, and the places that it has reached."""

    number: int
    place: int
    delay: float
    pid: int = 0
    pipe: int = -1
    seen: list[int] = field(default_factory=list)
    kill_at: float = 0.0


class Reporting:
    """Slack, with reports before and after each message of the child."""

    def __init__(self, slack, operation, reach):
        self.name, self._slack, self._operation, self._reach = slack.name, slack, operation, reach

    def send(self, message, *, within):
        own = message.operation == self._operation
        if own:
            self._reach("sending")
        receipt = self._slack.send(message, within=within)
        if own:
            self._reach("sent")
        return receipt


def live(number, draw, pipe, slack):
    """Fail, and report progress on `pipe`, until the signal."""
    operation = f"child_{number}"

    def reach(place, times=1):
        os.write(pipe, times * bytes([PLACES.index(place)]))
        time.sleep(draw.uniform(0, PAUSE))

    def reporting(method, place, is_own):
        done = getattr(Outbox, method)

        def reported(self, first, *args, **kwargs):
            result = done(self, first, *args, **kwargs)
            if is_own(first, result):
                # Failures that waited for the store to open are stored together.
                reach(place, args[0].number if method == "record_failure" else 1)
            return result

        setattr(Outbox, method, reported)

    if number % 4:
        dispatcher.Dispatcher._scan = lambda self: None
    reporting("record_failure", "stored", lambda first, _: first == operation)
    reporting("lease", "leased", lambda first, leased: first == operation and leased is not None)
    reporting("mark_delivered", "marked", lambda leased, _: leased.operation == operation)

    def fail():
        raise ConnectionError(f"what failed is number {number}.")

    fail.__name__ = fail.__qualname__ = operation
    call = resilient(notify=Notify(Reporting(slack, operation, reach)))(fail)
    failures = draw.randint(1, 3)
    for _ in range(failures):
        reach("begun")
        call.outcome()
    time.sleep(60)


def fork(child, seed, slack):
    child.pipe, theirs = os.pipe()
    child.pid = os.fork()
    if child.pid == 0:
        try:
            live(child.number, random.Random(f"{seed} {child.number}"), theirs, slack)
        finally:
            os._exit(1)
    os.close(theirs)


def kill_all(children, seed, slack):
    """Fork the children, a few at a time, and kill each at its place."""
    waiting, alive = list(reversed(children)), selectors.DefaultSelector()
    while waiting or alive.get_map():
        while waiting and len(alive.get_map()) < AT_ONCE:
            child = waiting.pop()
            fork(child, seed, slack)
            child.kill_at = time.monotonic() + PATIENCE
            alive.register(child.pipe, selectors.EVENT_READ, child)
        for key, _ in alive.select(0.001):
            child = key.data
            come = os.read(child.pipe, 100)
            if not any(seen >= child.place for seen in child.seen) and any(seen >= child.place for seen in come):
                child.kill_at = time.monotonic() + child.delay
            child.seen += come
        for child in [key.data for key in alive.get_map().values()]:
            if time.monotonic() >= child.kill_at:
                alive.unregister(child.pipe)
                os.kill(child.pid, signal.SIGKILL)
                os.waitpid(child.pid, 0)
                child.seen += os.read(child.pipe, 100)  # reports that were not read yet
                os.close(child.pipe)


def main(api_url, token, number, seed):
    draw = random.Random(seed)
    children = [Child(at, draw.randrange(PLACES.index("marked")), draw.uniform(0, DELAY)) for at in range(int(number))]
    slack = Slack(token=token, channel="#ml-alerts", api_url=api_url)
    kill_all(children, seed, slack)
    Notify(slack)  # registers the channel: this process is the next run
    flushed = flush_messages(FLUSH)
    print(json.dumps({"flushed": flushed, "seen": {f"child_{child.number}": child.seen for child in children}}))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
