"""Several workers on one virtual time, and a service that refuses calls beyond its rate."""

import asyncio
import heapq
import itertools
import threading

from resilient_tasks.core.execution.clock import now, use_clock


class Course:
    """A clock for several workers: it moves on when all of them wait, to the end of the shortest wait.

    One worker runs at a time, so one course of events comes of one start.
    """

    def __init__(self, workers):
        self._now = 0.0
        self._awake = workers
        self._waits = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def now(self):
        return self._now

    wall = now

    def sleep(self, seconds):
        is_over = threading.Event()
        self._wait(seconds, is_over.set)
        is_over.wait()

    async def asleep(self, seconds):
        is_over = asyncio.Event()
        self._wait(seconds, is_over.set)
        await is_over.wait()

    def end(self):
        """Say that a worker has ended."""
        with self._lock:
            self._awake -= 1
            self._go_on()

    def _wait(self, seconds, wake):
        with self._lock:
            heapq.heappush(self._waits, (self._now + seconds, next(self._numbers), wake))
            self._awake -= 1
            self._go_on()

    def _go_on(self):
        if not self._awake and self._waits:
            self._now, _, wake = heapq.heappop(self._waits)
            self._awake += 1
            wake()


class TooMany(Exception):
    """What a client makes of a 429."""

    status_code = 429

    def __init__(self, retry_after=None):
        super().__init__("too many requests")
        if retry_after is not None:
            self.retry_after = retry_after


class Service:
    """Allows `rate(time)` calls a second, and `burst` at once after a pause; each takes `latency` seconds.

    Attributes:
        at: when the last call came.
        accepted, refused: when calls came.
    """

    at = 0.0

    def __init__(self, rate, *, burst=5, retry_after=None):
        self.rate, self.burst, self.retry_after = rate, burst, retry_after
        self.tokens, self.filled = burst, 0.0
        self.accepted, self.refused = [], []

    def __call__(self):
        at = now()
        self.tokens = min(self.burst, self.tokens + (at - self.filled) * self.rate(at))
        self.filled = at
        if self.tokens < 1:
            self.refused.append(at)
            raise TooMany(self.retry_after)
        self.tokens -= 1
        self.accepted.append(at)

    def shares(self, begin, end):
        """Return the calls accepted between two times, as a share of what was allowed, and the share refused of all."""
        accepted = sum(begin <= at < end for at in self.accepted)
        refused = sum(begin <= at < end for at in self.refused)
        allowed = sum(self.rate(begin + step) for step in range(int(end - begin)))
        return accepted / allowed, refused / (accepted + refused)


def run(decorate, service, *, is_async, workers=4, seconds=300.0, latency=0.1):
    """Have workers call the service all the time, through `decorate(function)`."""
    clock = Course(workers)
    work = (_async_work if is_async else _work)(clock, decorate, service, seconds, latency)
    with use_clock(clock):
        if is_async:
            asyncio.run(_all(work, workers))
        else:
            threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(workers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(120)
                assert not thread.is_alive()


async def _all(work, workers):
    await asyncio.gather(*(work(number) for number in range(workers)))


def _work(clock, decorate, service, seconds, latency):
    def request():
        clock.sleep(latency)
        service.at = clock.now()
        service()

    call = decorate(request)

    def work(number):
        clock.sleep(number * 0.01)
        while clock.now() < seconds:
            call.outcome()
        clock.end()

    return work


def _async_work(clock, decorate, service, seconds, latency):
    async def request():
        await clock.asleep(latency)
        service.at = clock.now()
        service()

    call = decorate(request)

    async def work(number):
        await clock.asleep(number * 0.01)
        while clock.now() < seconds:
            await call.outcome()
        clock.end()

    return work
