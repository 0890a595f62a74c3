"""Of 200 tasks at once, each log line has the ids of its own run, and its own operation and attempt."""

import asyncio
import contextlib
import contextvars
import itertools
import logging
import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from resilient_tasks import Hedge, Retry, get_logger, resilient
from resilient_tasks.core.host import Host, use_host
from resilient_tasks.observe import logs
from resilient_tasks.testing import VirtualClock, use_clock

TASKS = 200
PLAIN = logging.getLogger("application.of_many_tasks")
task_run = contextvars.ContextVar("task_run", default=None)


class Runs(Host):
    """A host that knows the run by its context, as Prefect does."""

    def run(self):
        number = task_run.get()
        return {} if number is None else {"flow_run_id": f"flow {number % 7}", "task_run_id": f"task {number}"}


class Kept(logging.Handler):
    """Keeps records."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


class Script:
    """The failures of one call, and the attempts that it has made."""

    def __init__(self, number, failures, inner=()):
        self.number, self.failures, self.scripts = number, failures, inner
        self.attempts = 0

    @property
    def inner(self):
        """Scripts of the calls inside, new ones for each attempt."""
        return [Script(self.number, each.failures, each.scripts) for each in self.scripts]

    def flat(self):
        """Return it without calls inside the inner ones."""
        return Script(self.number, self.failures, [Script(self.number, each.failures) for each in self.scripts])

    def begin(self, operation):
        """Begin an attempt: write a line in each way, with what it should bear; return the error to raise."""
        self.attempts += 1
        self.say(operation, self.attempts)

    def say(self, operation, attempt):
        expected = {"task": self.number, "of": operation, "expected": attempt}
        get_logger().info("by our logger", **expected)
        PLAIN.info("by the application's", extra=expected)

    def end(self):
        if self.attempts <= self.failures:
            raise ConnectionError(f"of task {self.number}")
        return self.number


ONCE_MORE = Retry(attempts=4, wait=1)


@resilient(retry=ONCE_MORE, fallback=lambda script: script.number)
def leaf(script):
    script.begin("leaf")
    return script.end()


@resilient(retry=ONCE_MORE, timeout=600, idempotent=True, fallback=lambda script: script.number)
def limited(script):
    script.begin("limited")
    for inner in script.inner:
        leaf(inner)
        script.say("limited", script.attempts)
    return script.end()


@resilient(retry=ONCE_MORE, fallback=lambda script: script.number)
def outer(script):
    script.begin("outer")
    for inner in script.inner:
        limited(inner.flat()) if inner.scripts else leaf(inner)
        script.say("outer", script.attempts)
    return script.end()


@resilient(hedge=Hedge(after=0.001), idempotent=True, retry=ONCE_MORE)
def hedged(script, both=None):
    script.say("hedged", 1)
    if both is not None:
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(5)  # until the second call is under way
    script.say("hedged", 1)
    return script.number


@resilient(retry=ONCE_MORE, fallback=lambda script: script.number)
async def leaf_async(script):
    script.begin("leaf_async")
    await asyncio.sleep(0)
    script.say("leaf_async", script.attempts)
    return script.end()


@resilient(retry=ONCE_MORE, timeout=600, fallback=lambda script: script.number)
async def limited_async(script):
    script.begin("limited_async")
    await asyncio.gather(*map(leaf_async, script.inner))
    script.say("limited_async", script.attempts)
    await asyncio.gather(saying(script, "limited_async"), saying(script, "limited_async"))
    return script.end()


@resilient(retry=ONCE_MORE, fallback=lambda script: script.number)
async def outer_async(script):
    script.begin("outer_async")
    for inner in script.inner:
        await (limited_async(inner.flat()) if inner.scripts else leaf_async(inner))
        script.say("outer_async", script.attempts)
        leaf(Script(script.number, 1))
        script.say("outer_async", script.attempts)
    return script.end()


@resilient(hedge=Hedge(after=0.001), idempotent=True)
async def hedged_async(script):
    script.say("hedged_async", 1)
    await asyncio.sleep(0.002)
    script.say("hedged_async", 1)
    return script.number


async def saying(script, operation):
    await asyncio.sleep(0)
    script.say(operation, script.attempts)


def scripted(number, chance, depth=2):
    inner = [scripted(number, chance, depth - 1) for _ in range(chance.randrange(3))] if depth else []
    return Script(number, chance.choice([0, 0, 1, 2, 4]), inner)


def sync_task(number, chance):
    """A task in a thread of its own context, as a task runner makes them."""
    script, shape = scripted(number, chance), chance.choice([leaf, limited, outer, hedged])

    def body():
        task_run.set(number)
        both = (threading.Barrier(2),) if shape is hedged else ()
        assert shape(script if shape is outer else script.flat(), *both) == number

    return lambda: contextvars.Context().run(body)


async def async_task(number, chance):
    task_run.set(number)
    script, shape = scripted(number, chance), chance.choice([leaf_async, limited_async, outer_async, hedged_async])
    assert await shape(script if shape is outer_async else script.flat()) == number


async def all_async(numbers, chance):
    await asyncio.gather(*(asyncio.create_task(async_task(number, chance)) for number in numbers))


def wrong(record):
    """What is wrong with a line; nothing if it bears what it should."""
    own = vars(record)
    if "task" in own:
        expected = {"operation": own["of"], "attempt": own["expected"]}
        number = own["task"]
    else:  # an event, whose error names its task
        expected = {}
        number = int(own["exception.message"].removeprefix("of task ")) if "exception.message" in own else None
        if own["attempt"] not in range(1, 5):
            return f"{record.getMessage()}: attempt {own['attempt']}"
    if number is None:
        number = int(own["task_run_id"].removeprefix("task "))
    expected |= {"flow_run_id": f"flow {number % 7}", "task_run_id": f"task {number}"}
    found = {name: own.get(name) for name in expected}
    return "" if found == expected else f"{record.getMessage()} has {found} instead of {expected}"


@contextlib.contextmanager
def kept_lines():
    """The records of our logger and of an application's, by one handler for each."""
    ours, theirs = Kept(), Kept()
    theirs.addFilter(logs.Ids())
    with contextlib.ExitStack() as stack:
        for logger, handler in ((logs.LOGGER, ours), (PLAIN, theirs)):
            before = logger.handlers, logger.propagate, logger.level
            logger.handlers, logger.propagate = [handler], False
            logger.setLevel(logging.DEBUG)
            stack.callback(_put_back, logger, *before)
        yield ours.records, theirs.records


def _put_back(logger, handlers, propagate, level):
    logger.handlers, logger.propagate = handlers, propagate
    logger.setLevel(level)


@settings(max_examples=3, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 2**32))
def test_each_line_bears_the_ids_the_operation_and_the_attempt_of_its_own_task(seed):
    chance = random.Random(seed)
    numbers = list(range(TASKS))
    chance.shuffle(numbers)
    threads, coroutines = numbers[: TASKS // 2], numbers[TASKS // 2 :]
    interval = sys.getswitchinterval()
    with use_clock(VirtualClock()), use_host(Runs()), kept_lines() as (ours, theirs):
        sys.setswitchinterval(1e-4)
        try:
            with ThreadPoolExecutor(TASKS // 2 + 1) as pool:
                loop = pool.submit(asyncio.run, all_async(coroutines, random.Random(seed + 1)))
                running = [pool.submit(sync_task(number, random.Random(seed + number))) for number in threads]
                for each in (loop, *running):
                    each.result()
        finally:
            sys.setswitchinterval(interval)
    lines = [*ours, *theirs]
    assert [problem for problem in map(wrong, lines) if problem] == []
    by_users = [vars(line)["task"] for line in lines if "task" in vars(line)]
    assert set(by_users) == set(numbers)
    assert sum("event.name" in vars(line) for line in ours) > TASKS
    numbers_of = itertools.groupby(sorted(by_users))
    assert all(len(list(group)) >= 2 for _, group in numbers_of)


def test_ids_leave_what_a_record_has_and_add_nothing_outside_of_a_call():
    record = logging.makeLogRecord({"msg": "m", "operation": "mine"})
    before = set(vars(record))
    assert logs.Ids().filter(record)
    assert set(vars(record)) == before

    @resilient(retry=3)
    def fetch():
        logs.Ids().filter(record)

    fetch()
    assert (record.operation, record.attempt) == ("mine", 1)
