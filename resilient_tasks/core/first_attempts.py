"""First attempts that are made at once, and which call this code is part of.

That is told by the context, or by the frame of an attempt that is made at once.
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

#: The name of what makes a first attempt at once (see `core.wrappers`), and the names that it has from around it: the
#: user's own function may have that name, too. One that was pickled by its value has other code, of another file.
NAME, _AROUND = "resilient_call", frozenset(("fn", "new", "plan"))
#: The variable that such a frame has once its attempt is over, and the pipeline entered.
_ENTERED = "work"
#: The one in which it keeps its call, where that has to be found in the context as well.
MADE = "made"


class FirstAttempt(Call):
    """The first attempt of a call, where it is made at once and found in its context.

    What a call that succeeds needs is all that is set, by `pipeline.Limit.call`: the work is made when it is asked for.
    In an event loop it is its own `interrupt.Limit`, and has the attributes of one.

    Attributes:
        plan: what is carried out, with these `args` and `kwargs`.
    """

    __slots__ = (
        *("_work", "args", "kwargs", "plan", "thread"),
        *("began", "begun", "cancelling", "due", "rang", "rings", "task"),
    )

    __init__: Any = object.__init__  # one written in Python costs more than the whole object
    attempt = 1

    _work: Work
    plan: Plan
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    thread: int
    began: float
    begun: Any
    cancelling: int
    due: float
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
    def work(self) -> Work:  # type: ignore[override]  # nothing puts another in its place
        """What the call is about."""
        try:
            return self._work
        except AttributeError:
            work = self.plan.work(self.args, self.kwargs)
        work.thread, work.began = self.thread, self.started
        with _making:  # several threads may ask at once
            if not hasattr(self, "_work"):
                self._work = work
        return self._work


_making = threading.RLock()  # a handler of signals may ask, too


def current_call() -> Call | None:
    """Return the call whose function is running in this context, or None outside of any.

    Its `work.id` and `attempt` are those of the events: send them along with a request, for both logs to fit together.

    Where nothing limits a call, the attempts that are made at once are known to the code that the function calls and
    awaits, and not to threads and tasks that it starts.
    """
    known, here = running.get(), sys._getframe(1)  # noqa: SLF001  # inspect.stack() would read every source file
    found = _attempts(here)
    if not found or found[0].f_code is _INVOKE or (known is not None and _came_with_a_task(known, here, found)):
        return known
    return _call_of(found[0], known)


def _came_with_a_task(known: Call, here: FrameType | None, found: list[FrameType]) -> bool:
    """Tell whether a task of an event loop inside of the first attempt that was found is of a call further in."""
    while here is not found[0] and here is not None and here.f_code.co_qualname != "Handle._run":  # a step of asyncio's
        here = here.f_back
    is_inside = here is not found[0] and known.work.thread == threading.get_ident()
    return is_inside and all(own.get("self", own.get(MADE)) is not known for own in map(_variables, found))


def _attempts(frame: FrameType | None) -> list[FrameType]:
    """Return the frames that invoke resilient functions, the innermost first."""
    found = []
    while frame is not None:
        code = frame.f_code
        if code is _INVOKE or (
            code.co_name == NAME and _AROUND.issubset(code.co_freevars) and _ENTERED not in _variables(frame)
        ):
            found.append(frame)
        frame = frame.f_back
    return found


def _call_of(frame: FrameType, parent: Call | None) -> Call:
    """Return the call that a first attempt is about. It is made when it is asked for, once."""
    here = _variables(frame)
    if MADE in here:
        return cast("Call", here[MADE])
    return _asked(frame, here, parent).attempt(len(here.get("tried", ())) + 1)


def attempt_in(frame: FrameType, number: int) -> Call:
    """Return the attempt that a frame is making at once, while its error is handled there."""
    asked = frame.f_trace
    if not isinstance(asked, _Asked):
        asked = _asked(frame, _variables(frame), running.get())
    return asked.attempt(number)


def _variables(frame: FrameType) -> Mapping[str, Any]:
    """Return the variables of a wrapper, or of `Call.invoke`, but for an error that is handled there.

    On Python 3.11 and 3.12 the frame keeps this mapping, and with it the error, and all that the error holds, during
    the waits. A debugger writes it back, and has it whole.
    """
    here = frame.f_locals
    if sys.version_info < (3, 13) and sys.gettrace() is None:
        here.pop("error", None)
    return here


def _asked(frame: FrameType, here: Mapping[str, Any], parent: Call | None) -> _Asked:
    if isinstance(frame.f_trace, _Asked):
        return frame.f_trace
    code = frame.f_code
    names, number = code.co_varnames, code.co_argcount
    args = here.get("args", tuple(here[name] for name in names[:number]))
    by_name = {name: here[name] for name in names[number : number + code.co_kwonlyargcount]}
    limits = (NEVER, NEVER) if parent is None else (parent.deadline, parent.limited_until)
    made = Call(here["plan"].work(args, here.get("kwargs", by_name)), parent, 1, clock.now(), *limits)
    frame.f_trace = asked = _Asked(made, frame.f_trace)
    return asked


class _Asked:
    """Keeps the call of an attempt at its frame: the one place there that code outside of it can write to.

    A debugger that traces the frame goes on doing so.
    """

    def __init__(self, call: Call, trace: Any) -> None:
        self.call = self._latest = call
        self._trace = trace

    def attempt(self, number: int) -> Call:
        """Return the call as the attempt that is being made."""
        if self._latest.attempt != number:
            self._latest = self.call.attempted(number)
        return self._latest

    def __call__(self, *event: Any) -> None:
        if self._trace is not None:
            self._trace = self._trace(*event)


def id_asked_for(frame: FrameType) -> str:
    """Return the name under which a first attempt knows itself, if it asked for that; else nothing."""
    return frame.f_trace.call.work.id if isinstance(frame.f_trace, _Asked) else ""


def around() -> list[Work | Plan]:
    """Return what the attempts around this code are about, in this thread and context, the innermost first.

    Of a first attempt, that is its plan: it has an `operation` and `attempts`, too.
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
    """Tell whether the call that a wrapper's frame is about may be part of another one. `around` is slower and sure."""
    outer = frame.f_back
    while outer is not None and outer.f_code.co_name != NAME:
        outer = outer.f_back
    return outer is not None or running.get() is not None


def _outside(call: Call) -> Call | None:
    """Return the call around all of a call's attempts."""
    around, name = call.parent, call.work.id
    while around is not None and around.work.id == name:
        around = around.parent
    return around


_INVOKE = Call.invoke.__code__


# A state in this process's memory lets most calls through, and one or two attributes tell that it does. To call a
# function costs more than to look at them, so the look stands in the wrapper's text: at a door. Where that is not known
# to be open, its policy is asked (`at_once`), which opens it if it can.


class Text(NamedTuple):
    """What a wrapper does at a door: Python code, in which `door` is known, and `permit` once a call has passed.

    Attributes:
        name: tells it from other texts.
        is_open: an expression, true where a call may pass.
        take: a statement that takes what has to be given back. Neither it nor the end of `is_open` calls anything: no
            other thread has its turn in between (see `Cell`), and no signal comes before the call that gives it back.
        succeeded: a statement for a call that returned a result.
    """

    name: str
    is_open: str
    take: str = "pass"
    succeeded: str = "permit.succeeded()"


class Door:
    """The door of one wrapper to one state. It is closed at first, and under any other settings.

    Attributes:
        opened_for: the settings in force when it was opened.
        permit: what calls pass with.
        policy: is asked where it is not known to be open.
    """

    __slots__ = ("opened_for", "permit", "policy")

    text: ClassVar[Text]

    def __init__(self, policy: Any) -> None:
        self.policy: Any = policy
        self.opened_for: Settings | None = None
        self.permit: Permit | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _new_door, (self.policy,)  # a wrapper that is pickled by its value finds it closed

    def ask(self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Permit | None:
        """See `Policy.at_once`."""
        permit: Permit | None = self.policy.at_once(plan, args, kwargs, self)
        return permit


def _new_door(policy: Any) -> Any:
    return policy.door
