"""A pool of processes that are started once and run functions for tests, all at the same time."""

from __future__ import annotations

import logging
import os
import time
import traceback
from multiprocessing import get_context

#: Set in each process of the pool: a barrier for threads of all of them.
barrier = None

#: Seconds to wait for a result.
PATIENCE = 60


class WorkerPool:
    """Processes, started by `spawn`, so that they inherit nothing from this one but the environment.

    Args:
        size: number of processes.
        meeting: number of threads that meet at the barrier, in all processes together.
    """

    def __init__(self, size, meeting=None):
        context = get_context("spawn")
        place = context.Barrier(meeting or size)
        self._pipes, self._processes = [], []
        for _ in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, place), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        self.pids = self.all(os.getpid)

    def submit(self, numbers, work, *given):
        """Call `work(*given)`, imported by name, in these processes; `results` returns the results."""
        for number in numbers:
            self._pipes[number].send((work, given))

    def results(self, numbers):
        """Return the result from each of these processes; raise its error here."""
        until = time.monotonic() + PATIENCE
        return [_result(self._pipes[number], until) for number in numbers]

    def all(self, work, *given):
        """Call `work` in all processes, and return the results."""
        numbers = range(len(self._pipes))
        self.submit(numbers, work, *given)
        return self.results(numbers)

    def one(self, number, work, *given):
        """Call `work` in one process, and return the result."""
        self.submit([number], work, *given)
        (result,) = self.results([number])
        return result

    def end(self):
        """Kill all processes."""
        for process in self._processes:
            process.kill()
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            process.join()
            pipe.close()


def _result(pipe, until):
    if not pipe.poll(max(0, until - time.monotonic())):
        msg = f"a worker returned no result in {PATIENCE} s"
        raise TimeoutError(msg)
    succeeded, result = pipe.recv()
    if not succeeded:
        raise result
    return result


def _serve(pipe, place):
    global barrier  # noqa: PLW0603  # one pool for each process
    barrier = place
    logging.getLogger("resilient_tasks").setLevel(logging.CRITICAL + 1)  # eight processes would print too much
    while True:
        try:
            work, given = pipe.recv()
            pipe.send((True, work(*given)))
        except EOFError:
            return
        except Exception as error:
            pipe.send((False, RuntimeError("".join(traceback.format_exception(error)))))
