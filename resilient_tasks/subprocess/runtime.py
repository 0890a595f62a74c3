"""A runtime that calls the function in a child process, and kills that at the limit."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from resilient_tasks.core.call import NEVER, Call, Enforce, Proceed
from resilient_tasks.core.errors import ProcessDied, ResilienceError
from resilient_tasks.core.execution import clock
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.execution.interrupt import Overrun
from resilient_tasks.core.first_attempts import current_call
from resilient_tasks.core.outcome import Failed, Ok, Outcome
from resilient_tasks.subprocess import child as children
from resilient_tasks.subprocess import log_forwarding, pool, serialization
from resilient_tasks.subprocess.channel import EndedError, LateError, Message, Piece, UnheardError

#: Seconds for a child to load the function, which do not count towards the function's limit.
LOADING = 60.0


class _CutError(BaseException):
    """The limit has passed: no policy between the function and the limit handles this."""

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
        self._child: pool.Child | None = None
        self._busy = False
        self._fn: Callable[..., Any] | None = None
        self._function = b""

    def prepare(self, fn: Callable[..., Any], within: float) -> None:
        """Have a child load `fn`, so that a limit then counts the function's own time only.

        Args:
            fn: the function.
            within: seconds for that, `LOADING` at most.

        Raises:
            TypeError: something that the function uses cannot be pickled.
            ResilienceError: it cannot be loaded there.
            ProcessDied: the child died while loading it, or took too long.
        """
        try:
            self._ready(fn, time.monotonic() + min(within, LOADING))
        except EndedError:
            raise self._died() from None
        except LateError:
            if within > LOADING:  # else the call's deadline has passed
                msg = f"{self._operation} was not loaded in its process within {LOADING:g} s: look at its imports"
                raise ProcessDied(msg) from None
        finally:
            if self._busy:
                self.close()

    def close(self) -> bool:
        """Give the child back; if it is busy, kill it, and return whether all it has started has ended."""
        child, self._child, busy, self._busy = self._child, None, self._busy, False
        if child is not None and busy:
            return child.kill()
        if child is not None:
            pool.pool.give_back(child)
        return True

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
        """Proceed, and kill the function if it takes longer than `seconds`."""
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
        """Call `fn` in the child, within what is left of the limit."""
        call = current_call()
        assert call is not None  # noqa: S101  # only `Call.invoke` invokes
        try:
            content = serialization.dump_arguments(fn, args, kwargs, children.described(call), self._operation)
            message, result = self._answer(fn, content)
        except EndedError:
            return Failed(self._died())
        except LateError:
            self._busy = True
            raise _CutError(stopped=self.close()) from None
        except Exception as error:
            self.close()  # any other exception propagates to the owner of this runtime, who closes it
            return Failed(error)
        if message is Message.RETURNED:
            return Ok(result)
        if isinstance(result, Exception):
            return Failed(result)
        raise result

    begin = invoke

    def _answer(self, fn: Callable[..., Any], content: list[Piece]) -> tuple[Message, Any]:
        for last in (False, True):
            child = self._ready(fn, self._until)
            self._busy = True
            try:
                child.update(self._until)
                child.channel.send(Message.CALL, content, self._until)
                while (answer := child.channel.receive(self._until))[0] in log_forwarding.FORWARDED:
                    log_forwarding.handle(*answer)
                break
            except UnheardError:
                if last:
                    raise
                self._died()  # before it had read the call: try another child
        message, answered = answer
        try:
            return message, serialization.loads(answered)
        finally:
            self._busy = not isinstance(answered, bytes) and answered.left > 0

    def _ready(self, fn: Callable[..., Any], until: float) -> pool.Child:
        """Return a child that has loaded `fn`."""
        if fn is not self._fn:
            self._fn, self._function = fn, serialization.dump_function(fn, self._operation)
        key = (getattr(fn, "__module__", None), getattr(fn, "__qualname__", repr(type(fn))))
        if self._child is None:
            self._child = pool.pool.take(key, self._function, until)
        child = self._child
        if child.loaded != self._function:
            self._busy = True
            child.update(until)
            child.channel.send(Message.LOAD, self._function, until)
            message, content = child.channel.receive(until)
            self._busy = False
            if message is Message.NOT_LOADED:
                msg = f"{self._operation} could not be loaded in a process of its own: see the cause"
                raise ResilienceError(msg) from serialization.loads(content)
            child.loaded = self._function
            child.known.add(key)
        return child

    def _died(self) -> ProcessDied:
        """Let go of the child, which has ended, and return the error that says how."""
        child, self._child, self._busy = self._child, None, False
        if child is None:
            return ProcessDied(f"no process could be started for {self._operation}: the fork server has died")
        code = child.exit_code()
        child.close()
        subject = f"{self._operation}'s process"
        if code is None:
            return ProcessDied(f"{subject} ended; its exit code is unknown, because its fork server ended too")
        if code >= 0:
            return ProcessDied(f"{subject} ended with exit code {code}", exitcode=code)
        name = signal.Signals(-code).name if -code in {*signal.Signals} else f"signal {-code}"
        why = {"SIGKILL": " (out of memory?)", "SIGSEGV": " (a crash in C code)"}.get(name, "")
        return ProcessDied(f"{subject} was killed by {name}{why}", signal=-code)
