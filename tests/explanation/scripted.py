"""A world in which a script decides everything: how long attempts take, how they fail, and what is drawn for waits."""

import asyncio
import contextvars
import math
import random
import threading

from resilient_tasks import Pipeline, Policy, remaining, resilient
from resilient_tasks.core.call import running

#: Seconds before a limit at which something may still begin.
JUST = 1e-3
#: An attempt without a limit takes this long, in seconds.
LONG = 1000.0


class Throttled(Exception):
    """A service asks to wait."""

    status_code = 429

    def __init__(self, seconds):
        super().__init__("slow down")
        self.retry_after = seconds


class Crowd(Policy):
    """Other callers, who come just before each attempt: they take what a limit has left, and keep a circuit closed."""

    def __init__(self, *others):
        self.others = others

    def longest(self, inner):
        return inner

    async def around(self, call, proceed):
        for other in self.others:
            other()
        return await proceed(call)


class Group:
    """Attempts that run beside each other.

    Attributes:
        entered: how many have come as far as the hedge.
        begun: how many of them have called the function.
        over: set when the last one has ended.
    """

    def __init__(self, *, is_async):
        self.entered = self.begun = 0
        self.over = asyncio.Event() if is_async else threading.Event()
        self.changed = threading.Condition()

    def begin(self):
        """Count an attempt that calls the function."""
        with self.changed:
            self.begun += 1
            self.changed.notify_all()

    def wait_for(self, number):
        """Wait until this number of attempts have called the function: a thread may have been slow to do so."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.begun >= number, 30), "an attempt did not begin"


#: What the hedge that runs now has begun.
gathered = contextvars.ContextVar("gathered")
#: The group of an attempt, and its number in there.
entry = contextvars.ContextVar("entry")


class Attempt:
    """An attempt of the function.

    Attributes:
        group: what runs beside it.
        is_last: no further attempt may begin beside it.
        deadline: of its call, on the clock in use.
        left: the seconds until it is interrupted.
    """

    def __init__(self, world):
        self.group, self.number = entry.get((None, 1)) if world.hedge else (None, 1)
        self.deadline = running.get().deadline
        self.left = remaining()
        hedge = world.hedge
        self.is_last = hedge is None or self.number >= hedge.attempts or self.left <= hedge.after


class World:
    """Makes calls on a virtual clock, whose function and whose chance follow a script.

    A script has `plays(attempt, now)`, which returns the seconds of an attempt and its error (None: it succeeds), and
    `draw(low, high, now)`.

    Args:
        clock: the virtual clock.
        script: see above.
        hedge: the policy that starts attempts beside slow ones, if there is one.
        is_async: which of the two kinds the function is.
    """

    def __init__(self, clock, script, *, hedge=None, is_async=False):
        self.clock, self.script, self.hedge, self.is_async = clock, script, hedge, is_async
        self.attempts = 0
        self._groups = []
        self._lock = threading.Lock()

    def call(self, policies):
        """Make one call; return its attempts and its seconds."""
        began = self.clock.now()
        function = self._alater if self.is_async else self._later
        outcome = resilient(policies=Pipeline(*policies), idempotent=True)(function).outcome()
        if self.is_async:
            asyncio.run(_awaited(outcome))
        else:
            for group in self._groups:  # an attempt that was given up may still wait for one beside it
                group.over.set()
        return self.attempts, self.clock.now() - began

    def gather(self):
        """Make the group of the attempts that a hedge begins from now on, however late it begins the last one."""
        gathered.set(group := Group(is_async=self.is_async))
        self._groups.append(group)

    def enter(self):
        """Give an attempt its number among those beside it, and let the time before it pass on the virtual clock.

        A hedge waits for that time on the machine's clock.
        """
        group = gathered.get()
        with self._lock:
            group.entered += 1
            entry.set((group, group.entered))
            if group.entered > 1 and not group.over.is_set():
                self.clock.advance(self.hedge.after)

    # What stands for the module `random` in tenacity's waits.

    def uniform(self, low, high):
        return self.script.draw(low, high, self.clock.now())

    def random(self):
        return self.script.draw(0.0, 1.0, self.clock.now())

    def _later(self):
        attempt, waits = self._begun()
        if waits:
            assert attempt.group.over.wait(30), "no attempt began beside this one"
        self._ended(attempt, waits=waits)

    async def _alater(self):
        attempt, waits = self._begun()
        if waits:
            await asyncio.wait_for(attempt.group.over.wait(), 30)
        self._ended(attempt, waits=waits)

    def _begun(self):
        """Begin an attempt; return it, and whether another has to begin beside it before it ends."""
        with self._lock:
            self.attempts += 1
        attempt = Attempt(self)
        attempt.seconds, attempt.error = self.script.plays(attempt, self.clock.now())
        if attempt.group is not None:
            attempt.group.begin()
        return attempt, not attempt.is_last and attempt.seconds > self.hedge.after

    def _ended(self, attempt, *, waits):
        if not waits:
            if attempt.group is not None:
                attempt.group.wait_for(attempt.number)
            self.clock.advance(min(attempt.seconds, attempt.left, LONG))
            if attempt.group is not None:
                attempt.group.over.set()
        if attempt.error is not None:
            raise attempt.error


async def _awaited(outcome):
    return await outcome


class Quickest:
    """Everything fails at once, and the shortest waits are drawn: as many attempts as there can be."""

    def __init__(self, plan):
        self.plan = plan

    def plays(self, attempt, now):
        return 0.0 if attempt.is_last else math.inf, ConnectionError("refused")

    def draw(self, low, high, now):
        return min(low, high)


class Slowest:
    """Attempts take as long, and the longest waits are drawn, as leaves time for `rounds` attempts to begin."""

    def __init__(self, plan, rounds):
        self.plan, self.rounds = plan, rounds
        self.round = 0
        self.until = math.inf

    def plays(self, attempt, now):
        if not attempt.is_last:
            return math.inf, ConnectionError("slow")
        plan = self.plan
        self.round = self.round % self.rounds + 1
        limit = attempt.deadline if plan.stop is None else plan.stop
        self.until = limit - JUST
        last = self.rounds - (plan.ends_by == "after")  # the round after which a wait begins at the latest
        reserved = sum(plan.least[self.round - 1 : last - 1]) + (self.rounds - self.round - 1) * plan.beside
        spent = attempt.left if self.round == self.rounds else self._left(now, reserved)
        if self.round < self.rounds and plan.ends_by == "after" and self.round == last:
            spent = self.until - now
        seconds = min(attempt.left, max(0.0, spent), LONG)
        return seconds, Throttled(min(plan.asked, self._wait(now + seconds))) if plan.asked else ConnectionError(
            "refused"
        )

    def draw(self, low, high, now):
        least, most = self.plan.waits[self.round - 1]
        share = 1.0 if most == least else (self._wait(now) - least) / (most - least)
        return low + (high - low) * min(1.0, max(0.0, share))

    def _left(self, now, reserved):
        return self.until - now - reserved

    def _wait(self, now):
        """Return the longest wait now."""
        plan = self.plan
        if self.round >= self.rounds or (plan.ends_by == "after" and self.round == self.rounds - 1):
            return math.inf
        last = self.rounds - (plan.ends_by == "after")
        longest = (
            self.until - now - sum(plan.least[self.round : last - 1]) - (self.rounds - self.round - 1) * plan.beside
        )
        return max(0.0, longest)


class AtRandom:
    """Durations, errors and what is drawn come from a seeded generator."""

    def __init__(self, seed):
        self.seeded = random.Random(seed)

    def plays(self, attempt, now):
        chosen = self.seeded
        errors = (ConnectionError("refused"), Throttled(chosen.choice((0, 1, 5, 50))), ValueError("a bug"), None)
        seconds = chosen.choice((0.0, 0.5, 1.0, 3.0, 30.0)) * chosen.choice((1.0, chosen.random()))
        return seconds, chosen.choices(errors, (6, 5, 1, 1))[0]

    def draw(self, low, high, now):
        return self.seeded.choice((low, high, low + (high - low) * self.seeded.random()))
