"""A runtime that calls the function in a child process, and kills that at the limit."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from resilient_tasks.core import clock
from resilient_tasks.core import real_time as time
from resilient_tasks.core.call import NEVER, Call, Enforce, Proceed
from resilient_tasks.core.errors import ProcessDied, ResilienceError
from resilient_tasks.core.first_attempts import current_call
from resilient_tasks.core.interrupt import Overrun
from resilient_tasks.core.outcome import Failed, Ok, Outcome
from resilient_tasks.subprocess import functions, log_forwarding, pool, serialization
from resilient_tasks.subprocess.channel import EndedError, LateError, Message, Piece, UnheardError
from resilient_tasks.subprocess.child import About
from resilient_tasks.subprocess.server import Child

#: How long a child may take to load the function, in seconds; loading does not count towards the function's limit.
LOADING = 60.0


class _CutError(BaseException):
    """The limit came: passes every policy between the function and whoever set the limit."""

    def __init__(self, *, stopped: bool) -> None:
        super().__init__()
        self.stopped = stopped


class ProcessRuntime:
    """Calls functions in a child process, one at a time. Close it after use.

    Args:
        operation: what the functions are called in messages.
    """

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._until = NEVER
        self._child: Child | None = None
        self._busy = False
        self._fn: Callable[..., Any] | None = None
        self._function = b""

    def prepare(self, fn: Callable[..., Any], within: float) -> None:
        """Have a child load `fn`, so that a limit then counts the function's own time only.

        Args:
            fn: the function.
            within: seconds that there are for that; it takes `LOADING` at most.

        Raises:
            TypeError: something that the function holds on to cannot be pickled.
            ResilienceError: it cannot be loaded there.
            ProcessDied: the child died of it, or took too long.
        """
        try:
            self._ready(fn, time.monotonic() + min(within, LOADING))
        except EndedError:
            raise self._obituary() from None
        except LateError:
            if within > LOADING:  # else it is the call's deadline that has come
                msg = f"{self._operation} was not loaded in its process within {LOADING:g} s: look at its imports"
                raise ProcessDied(msg) from None
        finally:
            if self._busy:
                self._kill()

    def close(self) -> None:
        """Give the child back, or kill it where it still works."""
        self._kill() if self._busy else self._let_go()

    async def sleep(self, seconds: float) -> None:
        """Block the calling thread, at most up to the limit."""
        left = self._until - time.monotonic()
        if seconds > 0:
            clock.sleep(max(0.0, min(seconds, left)))
        if seconds > left:
            raise _CutError(stopped=True)

    async def race(
        self,
        begin: Callable[[int], Coroutine[Any, Any, Outcome[Any]]],
        *,
        most: int,  # noqa: ARG002  # a child does one thing at a time
        after: float,  # noqa: ARG002
        more: Callable[[int], float],  # noqa: ARG002
        name: str,  # noqa: ARG002
    ) -> tuple[int, Outcome[Any]]:
        """Make the first call only."""
        return 1, await begin(1)

    async def limit(self, call: Call, proceed: Proceed, seconds: float, enforce: Enforce) -> Outcome[Any] | Overrun:
        """Proceed, and have the function killed where it takes longer than `seconds`."""
        if enforce == "cooperative":
            return await proceed(call)
        around, own = self._until, time.monotonic() + seconds
        self._until = min(around, own)
        try:
            return await proceed(call)
        except _CutError as cut:
            if around <= own:
                raise
            return Overrun(stopped=cut.stopped)
        finally:
            self._until = around

    async def invoke(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outcome[Any]:
        """Call `fn` in the child for what is left of the limit, and give what came of it."""
        try:
            data = serialization.dump_arguments(fn, args, kwargs, _about(), self._operation)
            message, result = self._answer(fn, data)
        except EndedError:
            return Failed(self._obituary())
        except LateError:
            raise _CutError(stopped=self._kill()) from None
        except Exception as error:
            self.close()  # what is above an exception flies on, to whoever closes this
            return Failed(error)
        if message is Message.RETURNED:
            return Ok(result)
        if isinstance(result, Exception):
            return Failed(result)
        raise result

    begin = invoke

    def _answer(self, fn: Callable[..., Any], data: list[Piece]) -> tuple[Message, Any]:
        for last in (False, True):
            child = self._ready(fn, self._until)
            self._busy = True
            try:
                child.surround(self._until)
                child.channel.send(Message.CALL, data, self._until)
                while (answer := child.channel.receive(self._until))[0] in log_forwarding.TOLD:
                    log_forwarding.hand_on(*answer)
            except UnheardError:
                if last:
                    raise
                self._obituary()  # it died before it had read the call: another one takes this
            else:
                break
        message, told = answer
        try:
            return message, serialization.loads(told)
        finally:
            self._busy = not isinstance(told, bytes) and told.left > 0

    def _ready(self, fn: Callable[..., Any], until: float) -> Child:
        """Return a child that has loaded `fn`."""
        if fn is not self._fn:
            self._fn, self._function = fn, functions.dump(fn, self._operation)
        key = (getattr(fn, "__module__", None), getattr(fn, "__qualname__", repr(type(fn))))
        if self._child is None:
            self._child = pool.pool.take(key, self._function, until)
        child = self._child
        if child.loaded != self._function:
            self._busy = True
            child.surround(until)
            child.channel.send(Message.LOAD, self._function, until)
            message, data = child.channel.receive(until)
            self._busy = False
            if message is Message.NOT_LOADED:
                msg = f"{self._operation} could not be loaded in a process of its own: see the cause"
                raise ResilienceError(msg) from serialization.loads(data)
            child.loaded = self._function
            child.known.add(key)
        return child

    def _obituary(self) -> ProcessDied:
        """Bury the child, and say how it died."""
        child, self._child, self._busy = self._child, None, False
        if child is None:
            return ProcessDied(f"no process could be started for {self._operation}: the fork server has died")
        code = child.exit_code()
        child.close()
        pool.pool.drop(child)
        return died(self._operation, code)

    def _kill(self) -> bool:
        """Kill the child with all that it has started, and tell whether all of it has ended."""
        child, self._child, self._busy = self._child, None, False
        if child is None:
            return True
        try:
            return child.kill()
        finally:
            pool.pool.drop(child)

    def _let_go(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            pool.pool.give_back(child)


def died(operation: str, code: int | None) -> ProcessDied:
    """Return the error that says how a function's process ended, from its exit code or the negative of its signal."""
    if code is None:
        return ProcessDied(f"{operation}'s process ended, and nobody can tell how: its fork server is gone too")
    if code >= 0:
        return ProcessDied(f"{operation}'s process ended with exit code {code}", exitcode=code)
    name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
    why = {"SIGKILL": " (out of memory?)", "SIGSEGV": " (a crash in C code)"}.get(name, "")
    return ProcessDied(f"{operation}'s process was killed by {name}{why}", signal=-code)


def _about() -> tuple[Any, ...]:
    call = current_call()
    assert call is not None  # noqa: S101  # only `Call.invoke` invokes
    work, now = call.work, clock.now()
    about = About(
        operation=work.operation,
        id=work.id,
        idempotent=work.idempotent,
        attempt=call.attempt,
        elapsed=now - call.started,
        deadline=call.deadline - now,
        limited_until=call.limited_until - now,
    )
    return tuple(about)  # which needs no class to be found
