"""First attempts without the pipeline, and the current call.

The current call is found in the context, or in the frame of such an attempt.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, cast

from resilient_tasks.core.call import NEVER, Call, Permit, Plan, Work, running
from resilient_tasks.core.execution import clock

if TYPE_CHECKING:
    from resilient_tasks.core.settings import Settings

#: A wrapper that makes a first attempt (see `core.wrappers`) has this name and these free variables. The name alone is
#: not enough: a user's function may have it too. One pickled by value has other code, of another file.
NAME, _FREE_VARIABLES = "resilient_call", frozenset(("fn", "new", "plan"))
#: The variable that its frame has once the attempt is over and the pipeline is entered.
_ENTERED = "work"
#: The variable with its call, if that is in the context as well.
MADE = "made"


class FirstAttempt(Call):
    """The first attempt of a call without the pipeline, with a limit, and therefore in the context.

    `pipeline.Limit.call` sets only what a successful call needs; the work is made on first use. In an event loop the
    attempt is its own `interrupt.Limit`, and has the attributes of one.

    Attributes:
        plan: of the function, called with these `args` and `kwargs`.
    """

    __slots__ = (
        *("_work", "args", "kwargs", "plan", "thread"),
        *("began", "cancelling", "due", "leftovers", "rang", "rings", "task"),
    )

    __init__: Any = object.__init__  # one in Python costs more than the whole object
    attempt = 1

    _work: Work
    plan: Plan
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    thread: int
    began: float
    cancelling: int
    due: float
    leftovers: Any
    rang: float
    rings: float
    task: Any

    def set_thread(self, thread: int) -> None:
        self.thread = thread
        if hasattr(self, "_work"):
            self._work.thread = thread

    @property
    def call(self) -> FirstAttempt:
        """Itself."""
        return self

    @property
    def work(self) -> Work:  # type: ignore[override]  # never set from outside
        """The invocation."""
        try:
            return self._work
        except AttributeError:
            work = self.plan.work(self.args, self.kwargs)
        work.thread, work.began = self.thread, self.started
        with _making:  # several threads may need it at once
            if not hasattr(self, "_work"):
                self._work = work
        return self._work


_making = threading.RLock()  # a signal handler may need it, too


def current_call() -> Call | None:
    """Return the call whose function is running in this context, or None outside of any.

    Its `work.id` and `attempt` are those of the events: send them with a request to correlate both logs.

    A first attempt without a limit is visible to the code that the function calls and awaits, but not to the threads
    and tasks that it starts.
    """
    call, here = running.get(), sys._getframe(1)  # noqa: SLF001  # inspect.stack() would read every source file
    found = _attempts(here)
    if not found or found[0].f_code is _INVOKE or (call is not None and _is_of_task(call, here, found)):
        return call
    return _call_of(found[0], call)


def _is_of_task(call: Call, here: FrameType | None, found: list[FrameType]) -> bool:
    """Return whether `call` belongs to a task of an event loop that runs inside the first attempt found."""
    while (
        here is not found[0] and here is not None and here.f_code.co_qualname != "Handle._run"
    ):  # a step of an asyncio task
        here = here.f_back
    is_inside = here is not found[0] and call.work.thread == threading.get_ident()
    return is_inside and all(own.get("self", own.get(MADE)) is not call for own in map(_variables, found))


def _attempts(frame: FrameType | None) -> list[FrameType]:
    """Return the frames that invoke resilient functions, the innermost first."""
    found = []
    while frame is not None:
        code = frame.f_code
        if code is _INVOKE or (
            code.co_name == NAME and _FREE_VARIABLES.issubset(code.co_freevars) and _ENTERED not in _variables(frame)
        ):
            found.append(frame)
        frame = frame.f_back
    return found


def _call_of(frame: FrameType, parent: Call | None) -> Call:
    """Return the call of a first attempt; it is made on first use."""
    here = _variables(frame)
    if MADE in here:
        return cast("Call", here[MADE])
    return _kept_call(frame, here, parent).attempt(len(here.get("tried", ())) + 1)


def attempt_in(frame: FrameType, number: int) -> Call:
    """Return the attempt of a wrapper's frame, while its error is handled there."""
    kept = frame.f_trace
    if not isinstance(kept, _KeptCall):
        kept = _kept_call(frame, _variables(frame), running.get())
    return kept.attempt(number)


def _variables(frame: FrameType) -> Mapping[str, Any]:
    """Return the variables of a wrapper, or of `Call.invoke`, without an error that is handled there.

    On Python 3.11 and 3.12 the frame keeps this mapping, and would thus keep the error and all that it holds during the
    waits. A debugger writes the mapping back, and needs it complete.
    """
    here = frame.f_locals
    if sys.version_info < (3, 13) and sys.gettrace() is None:
        here.pop("error", None)
    return here


def _kept_call(frame: FrameType, here: Mapping[str, Any], parent: Call | None) -> _KeptCall:
    if isinstance(frame.f_trace, _KeptCall):
        return frame.f_trace
    code = frame.f_code
    names, number = code.co_varnames, code.co_argcount
    args = here.get("args", tuple(here[name] for name in names[:number]))
    by_name = {name: here[name] for name in names[number : number + code.co_kwonlyargcount]}
    limits = (NEVER, NEVER) if parent is None else (parent.deadline, parent.limited_until)
    made = Call(here["plan"].work(args, here.get("kwargs", by_name)), parent, 1, clock.now(), *limits)
    frame.f_trace = kept = _KeptCall(made, frame.f_trace)
    return kept


class _KeptCall:
    """Keeps the call of a first attempt in its frame's `f_trace`, the only attribute that outside code can set.

    A debugger that traces the frame goes on doing so.
    """

    def __init__(self, call: Call, trace: Any) -> None:
        self.call = self._latest = call
        self._trace = trace

    def attempt(self, number: int) -> Call:
        """Return the call as the attempt with this number."""
        if self._latest.attempt != number:
            self._latest = self.call.attempted(number)
        return self._latest

    def __call__(self, *event: Any) -> None:
        if self._trace is not None:
            self._trace = self._trace(*event)


def id_of_attempt(frame: FrameType) -> str:
    """Return the id of a first attempt's call if that was made; else an empty string."""
    return frame.f_trace.call.work.id if isinstance(frame.f_trace, _KeptCall) else ""


def around() -> list[Work | Plan]:
    """Return the works of the calls around this code, in this thread and context, the innermost first.

    Of a first attempt, return its plan, which has an `operation` and `attempts`, too.
    """
    found: list[Work | Plan] = []
    call = running.get()
    for frame in _attempts(sys._getframe(1)):  # noqa: SLF001  # as above
        here = _variables(frame)
        own = here["self"] if frame.f_code is _INVOKE else here.get(MADE)
        found.append(here["plan"] if own is None else own.work)
        call = call if own is None else _outside(own)
    while call is not None:
        found.append(call.work)
        call = _outside(call)
    return found


def is_inside(frame: FrameType) -> bool:
    """Return whether the call of a wrapper's frame may be nested in another; `around` is slower and exact."""
    outer = frame.f_back
    while outer is not None and outer.f_code.co_name != NAME:
        outer = outer.f_back
    return outer is not None or running.get() is not None


def _outside(call: Call) -> Call | None:
    """Return the next call outwards that is of another work."""
    outer, own_id = call.parent, call.work.id
    while outer is not None and outer.work.id == own_id:
        outer = outer.parent
    return outer


_INVOKE = Call.invoke.__code__


# A state in this process's memory lets most calls pass, and one or two attributes are enough to see that. Calling a
# function costs more than reading them, so the wrapper's text reads them itself: the door. If the door is not known to
# be open, the wrapper calls the policy (`at_once`), which opens it if it can.


class Text(NamedTuple):
    """The Python code of a wrapper for a door. It may use `door`, and `permit` once a call has passed.

    Attributes:
        name: distinguishes it from other texts.
        is_open: an expression, true if a call may pass.
        take: a statement that takes what has to be given back. Neither it nor the end of `is_open` calls anything: no
            other thread runs in between (see `Cell`), and no signal comes before the call that gives it back.
        succeeded: a statement to run after a result.
    """

    name: str
    is_open: str
    take: str = "pass"
    succeeded: str = "permit.succeeded()"


class Door:
    """One wrapper's fast path to one state. Closed at first, and whenever the settings change.

    Attributes:
        opened_for: the settings in force when it was opened.
        permit: of the calls that pass.
        policy: whose `at_once` decides while the door is closed.
    """

    __slots__ = ("opened_for", "permit", "policy")

    text: ClassVar[Text]

    def __init__(self, policy: Any) -> None:
        self.policy: Any = policy
        self.opened_for: Settings | None = None
        self.permit: Permit | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _new_door, (self.policy,)  # a wrapper pickled by value starts with a closed door

    def ask(self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Permit | None:
        """See `Policy.at_once`."""
        permit: Permit | None = self.policy.at_once(plan, args, kwargs, self)
        return permit


def _new_door(policy: Any) -> Any:
    return policy.door
