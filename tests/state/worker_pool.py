"""Processes that are started once and then do, all at the same time, what a test tells them."""

from __future__ import annotations

import logging
import os
import time
import traceback
from multiprocessing import get_context

#: Set in each process of the worker pool: threads of all of them meet there.
barrier = None

#: Seconds after which a worker_pool that does not answer is given up.
PATIENCE = 60


class WorkerPool:
    """So many processes, started by `spawn`, so that they have nothing from this one but the environment.

    Args:
        size: processes.
        meeting: threads that meet at the worker_pool's barrier, all processes together.
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

    def tell(self, numbers, work, *given):
        """Have these processes call `work(*given)`, which they import by name; `answers` gives what came of it."""
        for number in numbers:
            self._pipes[number].send((work, given))

    def answers(self, numbers):
        """Return what each of these processes made of what it was told; an error is raised here."""
        until = time.monotonic() + PATIENCE
        return [_answer(self._pipes[number], until) for number in numbers]

    def all(self, work, *given):
        """Have all processes do something, and wait for their answers."""
        everybody = range(len(self._pipes))
        self.tell(everybody, work, *given)
        return self.answers(everybody)

    def one(self, number, work, *given):
        """Have one process do something, and wait for its answer."""
        self.tell([number], work, *given)
        (answer,) = self.answers([number])
        return answer

    def end(self):
        """End all of them."""
        for process in self._processes:
            process.kill()
        for process, pipe in zip(self._processes, self._pipes, strict=True):
            process.join()
            pipe.close()


def _answer(pipe, until):
    if not pipe.poll(max(0, until - time.monotonic())):
        msg = f"a process of the worker_pool gave no answer in {PATIENCE} s"
        raise TimeoutError(msg)
    fine, answer = pipe.recv()
    if not fine:
        raise answer
    return answer


def _serve(pipe, place):
    global barrier  # noqa: PLW0603  # one worker_pool a process
    barrier = place
    logging.getLogger("resilient_tasks").setLevel(logging.CRITICAL + 1)  # nobody reads what eight processes print
    while True:
        try:
            work, given = pipe.recv()
            pipe.send((True, work(*given)))
        except EOFError:
            return
        except Exception as error:
            pipe.send((False, RuntimeError("".join(traceback.format_exception(error)))))
