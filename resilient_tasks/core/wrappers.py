"""The wrapper that a decorator returns: it calls the function directly, and enters the pipeline only if that fails.

A successful call involves only the policies that act before it. It creates no object and sets no context variable: its
frame identifies the call (see `current_call`). If a retry alone decides what follows from a failure (see
`Pipeline.again`), the wrapper makes the further attempts, too. Wrappers of sync and async functions, with few
parameters or any, differ in a word here and there, and a call to a shared function would cost as much as all the rest:
so each kind of wrapper is compiled, once, from one text.
"""

from __future__ import annotations

import functools
import inspect
import linecache
import sys
import textwrap
import threading
from _thread import get_ident
from collections.abc import Awaitable, Callable
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

from resilient_tasks import core
from resilient_tasks.core import call as calls
from resilient_tasks.core import first_attempts, host, settings  # noqa: F401  # the texts name them
from resilient_tasks.core.call import Later, Permit, Plan, Tried, Work
from resilient_tasks.core.execution import clock, runtime, streams  # noqa: F401  # as above
from resilient_tasks.core.first_attempts import Door, Text
from resilient_tasks.core.outcome import Failed, Ok
from resilient_tasks.core.parameters import callables
from resilient_tasks.core.pipeline import inherited, parts_of

#: For policies of which none acts before the first attempt.
_FREE = """
{async_}def resilient_call({parameters}):
    if (new or calls.limited) and needs_pipeline(plan, new):
        work = plan.work({args}, {kwargs})
    else:
        tried = ()
        while True:
            try:
                value = {await_}fn({arguments})
            except Exception as error:
                if (more := again(error, tried)) is None:
                    if not settings.current.enabled:
                        raise
                    work = work_after(plan, {args}, {kwargs}, error, None, tried)
                    break
                tried, delay = more
            else:
                if {is_result}:
                    return value
                if not settings.current.enabled:
                    return value
                work = work_after(plan, {args}, {kwargs}, runtime.deferred(fn, value), None, tried)
                break
            if delay:
                {sleep}(delay)
            if host.current is not host.NONE:
                clock.check()
    return {entered}
"""
#: The policies return a permit, or the call enters the pipeline. An exception of a signal, such as KeyboardInterrupt,
#: is raised where a Python function begins or a C function has returned (Python 3.11, 3.12, 3.13): so none comes
#: between a permit that a Python function returns and the `try` that gives it back. One set for this thread from
#: outside while the function waits in C is raised by the call of `settle` if the function fails.
_WITH_PERMIT = """
{async_}def resilient_call({parameters}):
    {at_door}if (new or calls.limited) and needs_pipeline(plan, new):
        permit = None
    elif not settings.current.enabled:
        return {await_}fn({arguments})
    else:
        permit = gate(plan, {args}, {kwargs})
    if permit is None:
        work = plan.work({args}, {kwargs})
    else:
        {before}try:
            {mark}value = {await_}fn({arguments})
        except Exception as error:
            try:
                settle()
            finally:
                permit.ended(error)
            work = work_after(plan, {args}, {kwargs}, error, permit)
        except BaseException as error:
            try:
                settle()
            finally:
                permit.ended(error)
            raise
        else:
            try:
                if {is_result}:
                    {succeeded}
                    return value
            except BaseException as error:
                permit.ended(error)
                raise
            permit.ended(None)
            work = work_after(plan, {args}, {kwargs}, runtime.deferred(fn, value), permit)
        {after}
    return {entered}
"""
#: An open door lets a call pass without a function call. The first call finds it closed.
_AT_DOOR = """if door.opened_for is settings.current and not calls.limited and {is_open}:
        {take}
        permit = door.permit
    el"""
#: Identifies what an async function has started and a cancellation does not reach, by a mark in its context. An
#: outermost mark stays there when its call has ended: resetting a context variable costs more than all the rest.
_MARK = {
    "before": "mark = None\n        ",
    "mark": """calls.held.set(
                mark := [plan.operation, calls.running.get(), (around := calls.held.get()) and around[0] and around]
            )
            """,
    "after": """finally:
            if mark is not None:
                mark[0] = mark[1] = None
                if mark[2] is not None and calls.held.get() is mark:  # it may be closed in another context
                    calls.held.set(mark[2])""",
}
_NO_MARK = dict.fromkeys(_MARK, "")
#: The same for a call with a limit, which is in the context of the function.
_IN_CONTEXT = """
{async_}def resilient_call({parameters}):
    if (new or calls.limited) and needs_pipeline(plan, new, limit.seconds):
        work = plan.work({args}, {kwargs})
    elif not settings.current.enabled:
        return {await_}fn({arguments})
    else:
        made, before, kept, permit = limit.call(plan, {args}, {kwargs}), None, None, None
        if gate is not None and (permit := gate(plan, {args}, {kwargs})) is None:
            work = made.work
            return {entered}
        try:
            before = calls.running.set(made)
            calls.limited.add(made)
            {in_time}
        except Exception as error:
            failed = None
            try:
                failed = (clock.present() > made.limited_until and limit.exceeded(made, None)) or Failed(error)
            finally:
                permit is None or permit.ended(failed.error if failed else error)
            work = made.work.resume_from(failed, parts_of(permit))
        except BaseException as error:
            try:
                settle()
            finally:
                permit is None or permit.ended(error)
            raise
        else:
            try:
                late = {late}
                if not late and ({is_result}):
                    permit is None or permit.succeeded()
                    return value
            except BaseException as error:
                permit is None or permit.ended(error)
                raise
            permit is None or permit.ended(late.error if late else None)
            work = made.work.resume_from(late or runtime.deferred(fn, value), parts_of(permit))
        finally:
            try:
                calls.running.set(made.parent) if before is None else calls.running.reset(before)  # a signal at its end
            except ValueError:  # closed in another context
                pass
            finally:
                kept is None or kept.discard(made)
                made.is_fenced or calls.limited.discard(made)
    return {entered}
"""
_KINDS = {_FREE: "call", _IN_CONTEXT: "call in its context"}
#: With another clock in use, a call can be late by that clock, too.
_LATE = (
    "(type(value) is limits.Overrun"
    " or (clock.present is not clock.machine and clock.present() > made.limited_until)"
    ") and limit.exceeded(made, value)"
)
#: `cancelling.by_cancelling` inlined: its coroutine would cost as much as the rest.
_BY_CANCELLING = """
            kept = limits.prepare(
                made, limit.seconds, made.started if clock.present is clock.machine else clock.machine()
            )
            kept.add(made)
            try:
                value = await fn({arguments})
            except BaseException as error:
                if (value := await limits.overrun_of(made, error)) is None:
                    raise
            else:
                if made.rang or clock.machine() > made.due:
                    value = await limits.overrun_of(made)
"""
_WORDS = {
    False: {
        "async_": "",
        "await_": "",
        "sleep": "clock.sleep",
        "is_result": "type(value) in callables.PLAIN or not callables.comes_later(value)",
        "in_time": "value = limits.in_time(fn, limit.seconds, made, args, kwargs)",
        "late": _LATE,
        "entered": "runtime.drive(plan.pipeline.run(work)).unwrap()",
    },
    True: {
        "async_": "async ",
        "await_": "await ",
        "sleep": "await clock.asleep",
        "is_result": "True",
        "in_time": _BY_CANCELLING.strip().format(arguments="*args, **kwargs"),
        "late": _LATE,
        "entered": "(await plan.pipeline.run(work)).unwrap()",
    },
}
#: Functions with more parameters get a wrapper with `*args, **kwargs`, which costs no more.
_MAX_PARAMETERS = 8
#: Written in C: an exception pending in this thread is raised after its call, not while a permit is given back.
settle = get_ident


def wrapped(plan: Plan) -> Callable[..., Any]:
    """Return the wrapper of `plan`."""
    fn, is_async, gate = plan.fn, plan.is_async, plan.pipeline.gate
    limit, door = plan.pipeline.first_limit, None
    if isinstance(gate, Door):
        door, gate = gate, gate.ask
    if limit.seconds:
        text = _IN_CONTEXT
    elif gate is None:
        text = _FREE
    else:
        text = _with_permit(door and door.text, is_marked=is_async and plan.pipeline.holds)
    head = None if text is _IN_CONTEXT or plan.pipeline.heeds_arguments else _head(fn)
    code = _code(text, is_async, None) if head is None else _renamed(text, is_async, head)
    again = plan.pipeline.again
    limits = core.execution.limits if limit.seconds else None  # loaded by the policy that has the limit
    free = {
        "again": again,
        "door": door,
        "fn": fn,
        "gate": gate,
        "limit": limit,
        "limits": limits,
        "new": [True],
        "plan": plan,
    }
    cells = tuple(CellType(free[name]) for name in code.co_freevars)
    wrapper = FunctionType(code, globals(), "resilient_call", None if head is None else fn.__defaults__, cells)
    if head is not None and head.keyword_only:
        wrapper.__kwdefaults__ = fn.__kwdefaults__
    functools.update_wrapper(wrapper, fn)
    wrapper.outcome = MethodType(_async_outcome if is_async else _outcome, plan)  # type: ignore[attr-defined]
    return wrapper


class _Head(NamedTuple):
    """The parameters of a function: their names, and the number of keyword-only ones, which come last."""

    names: tuple[str, ...]
    keyword_only: int


def _head(fn: Callable[..., Any]) -> _Head | None:
    """Return the parameters of `fn`; None if the wrapper has to take `*args, **kwargs`."""
    if type(fn) is not FunctionType or fn.__code__.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        return None
    code = fn.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if code.co_posonlyargcount or len(names) > _MAX_PARAMETERS or not _RESERVED.isdisjoint(names):
        return None
    return _Head(names, code.co_kwonlyargcount)


@functools.cache
def _with_permit(at_door: Text | None, *, is_marked: bool) -> str:
    """Return the text of a wrapper that needs a permit, or an open door."""
    words = dict(_MARK if is_marked else _NO_MARK)
    words["at_door"] = "" if at_door is None else _AT_DOOR.format(**at_door._asdict())
    words["succeeded"] = "permit.succeeded()" if at_door is None else at_door.succeeded.replace("\n", "\n" + 20 * " ")
    text = _WITH_PERMIT
    for word, meaning in words.items():
        text = text.replace(f"{{{word}}}", meaning)
    names = ("call with permit", at_door.name if at_door else "", "marked" if is_marked else "")
    _KINDS[text] = ", ".join(filter(None, names))
    return text


@functools.cache
def _code(text: str, is_async: bool, head: _Head | None) -> CodeType:  # noqa: FBT001  # keywords slow the cache
    """Return the code of a wrapper of functions with these parameters, or with any."""
    words = {"parameters": "*args, **kwargs", "arguments": "*args, **kwargs", "args": "args", "kwargs": "kwargs"}
    if head is not None:
        first, last = (
            head.names[: len(head.names) - head.keyword_only],
            head.names[len(head.names) - head.keyword_only :],
        )
        words["parameters"] = ", ".join((*first, *(("*", *last) if last else ())))
        words["arguments"] = ", ".join((*first, *(f"{name}={name}" for name in last)))
        words["args"] = f"({''.join(f'{name}, ' for name in first)})"
        words["kwargs"] = f"{{{', '.join(f'{name!r}: {name}' for name in last)}}}"
    inside = textwrap.indent(text.format(**_WORDS[is_async], **words), "    ")
    source = f"def made(again, door, fn, gate, limit, limits, new, plan):\n{inside}\n    return resilient_call\n"
    # Tracebacks show the lines of this text, which needs a name like a file's, and unique.
    name = f"<resilient_tasks: {'async' if is_async else 'sync'} {_KINDS[text]}({words['parameters']})>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    space: dict[str, Any] = {}
    exec(compile(source, name, "exec"), globals(), space)  # noqa: S102  # of the texts above
    code = space["made"](*(None,) * 8).__code__
    assert isinstance(code, CodeType)  # noqa: S101
    return code


@functools.lru_cache(maxsize=512)  # a copy takes a kilobyte, and many functions have the same parameters
def _renamed(text: str, is_async: bool, head: _Head) -> CodeType:  # noqa: FBT001  # as above
    """Return the code of a wrapper whose parameters have the function's own names, so that callers can use them.

    It is compiled once for each number of parameters, and renamed. That is safe because code refers to variables by
    position: names serve callers and debuggers, and are constants where they are passed on. Tried on Python 3.11, 3.12
    and 3.13.
    """
    placeholders = tuple(f"_{index}" for index in range(len(head.names)))
    code = _code(text, is_async, _Head(placeholders, head.keyword_only))
    own = dict(zip(placeholders, head.names, strict=True))

    def renamed(constant: Any) -> Any:
        if isinstance(constant, tuple):
            return tuple(map(renamed, constant))
        return own.get(constant, constant) if isinstance(constant, str) else constant

    names = (*head.names, *code.co_varnames[len(head.names) :])
    return code.replace(co_varnames=names, co_consts=tuple(map(renamed, code.co_consts)))


def needs_pipeline(plan: Plan, new: list[bool], seconds: float = 0.0) -> bool:
    """Return whether this call has to enter the pipeline from the start.

    Args:
        plan: of the call.
        new: not empty before the first call, which reports nested retry loops.
        seconds: the call's own limit, if it has one.
    """
    if not settings.current.enabled:
        return False
    if new:
        new.clear()
        return True
    if calls.observer is not None:
        return True
    outer = calls.running.get()
    if outer is None or not outer.is_limited:
        return False
    if seconds or outer.fenced:
        return True  # the earlier limit counts, or no attempt may begin
    deadline, limited_until = inherited(outer, threading.get_ident(), is_async=plan.is_async)
    return deadline < limited_until  # nothing else enforces the deadline here


def work_after(  # noqa: PLR0917  # as the texts call it
    plan: Plan,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    outcome: Exception | Failed | Later,
    permit: Permit | None = None,
    tried: tuple[Tried, ...] = (),
) -> Work:
    """Return the work of a call whose first attempts were made without the pipeline.

    Args:
        plan: of the call.
        args: its positional arguments.
        kwargs: its keyword arguments.
        outcome: of the last of these attempts; an error stands for its failure.
        permit: of that attempt.
        tried: the failed attempts before it.
    """
    work = plan.work(args, kwargs)
    if isinstance(outcome, Exception):
        outcome = Failed(outcome)
    id_in_use = first_attempts.id_of_attempt(sys._getframe(1))  # noqa: SLF001  # the wrapper's
    if id_in_use:
        work = work.changed(_id=id_in_use)
    work.tried = tried
    return work.resume_from(outcome, parts_of(permit))


def _outcome(plan: Plan, /, *args: Any, **kwargs: Any) -> Any:
    if settings.current.enabled:
        return runtime.ended(plan.pipeline.run(plan.work(args, kwargs)))
    value = plan.fn(*args, **kwargs)
    return _ok(value) if callables.comes_later(value) else Ok(value)


async def _ok(awaitable: Awaitable[Any]) -> Ok[Any]:
    return Ok(await awaitable)


async def _async_outcome(plan: Plan, /, *args: Any, **kwargs: Any) -> Any:
    if not settings.current.enabled:
        return Ok(await plan.fn(*args, **kwargs))
    return await plan.pipeline.run(plan.work(args, kwargs))


def stream(plan: Plan) -> Callable[..., Any]:
    """Return the wrapper of a generator function, sync or async."""
    fn, pipeline = plan.fn, plan.pipeline

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not settings.current.enabled:
            return (yield from fn(*args, **kwargs))
        return (yield from streams.items(pipeline, plan.work(args, kwargs))).unwrap()

    @functools.wraps(fn)
    async def async_wrapper(*args: Any, **kwargs: Any) -> Any:
        enabled = settings.current.enabled
        async for item in streams.async_items(pipeline, plan.work(args, kwargs)) if enabled else fn(*args, **kwargs):
            yield item

    return async_wrapper if callables.is_async_generator(fn) else wrapper


#: Names that a wrapper uses itself, and no parameter may have.
_RESERVED = frozenset(
    (
        *(first_attempts.MADE, "permit", "mark", "around", "door", "gate"),
        *("mine", "slots", "now", "times", "first", "window"),  # at doors
        *_code(_FREE, False, None).co_varnames,
        *_code(_FREE, False, None).co_freevars,
    )
)
