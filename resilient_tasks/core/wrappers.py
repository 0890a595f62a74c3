"""What a decorator returns: it makes the first attempt at once, and enters the pipeline only if that fails.

A call that goes well touches nothing but the policies that have to act before it. It makes no object, and sets no
context variable: its frame says which call it is (see `current_call`). Where a retry decides alone what follows from a
failure (see `Pipeline.again`), the attempts after it are made here, too. Sync and async functions, with few parameters
and with any, differ in a word here and there, and a call to a common part would cost as much as all the rest: so each
wrapper is compiled from one text, once for its kind.
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

#: No policy acts before the first attempt.
_FREE = """
{async_}def resilient_call({parameters}):
    if (new or calls.limited) and enters(plan, new):
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
                    work = begun(plan, {args}, {kwargs}, error, None, tried)
                    break
                tried, delay = more
            else:
                if {is_result}:
                    return value
                if not settings.current.enabled:
                    return value
                work = begun(plan, {args}, {kwargs}, runtime.put_off(fn, value), None, tried)
                break
            if delay:
                {sleep}(delay)
            if host.current is not host.NONE:
                clock.check()
    return {entered}
"""
#: Policies are asked for their permit, and the pipeline stands around the call where one gives none. The exception of a
#: signal, such as KeyboardInterrupt, comes where a function begins or one of C has returned (Python 3.11, 3.12, 3.13):
#: so none comes between a permit that a function written in Python returns and the `try` that gives it back. One that is
#: raised in this thread while the function waits in C comes later if that fails: with the call of `settle`.
_WITH_PERMIT = """
{async_}def resilient_call({parameters}):
    {at_door}if (new or calls.limited) and enters(plan, new):
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
            work = begun(plan, {args}, {kwargs}, error, permit)
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
            work = begun(plan, {args}, {kwargs}, runtime.put_off(fn, value), permit)
        {after}
    return {entered}
"""
#: At a door, a call passes without a question. The first call finds it closed.
_AT_DOOR = """if door.opened_for is settings.current and not calls.limited and {is_open}:
        {take}
        permit = door.permit
    el"""
#: What an async function begins, and a cancellation does not reach, is known by this mark in its context. Where none is
#: around, it is left there, as one that is over: to put a context variable back costs more than all the rest.
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
#: The same, and the function finds its call in its context, where its limits stand.
_IN_CONTEXT = """
{async_}def resilient_call({parameters}):
    if (new or calls.limited) and enters(plan, new, limit.seconds):
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
            work = made.work.resume_from(late or runtime.put_off(fn, value), parts_of(permit))
        finally:
            try:
                calls.running.set(made.parent) if before is None else calls.running.reset(before)  # a signal at its end
            except ValueError:  # as in `Call.invoke`
                pass
            finally:
                kept is None or kept.discard(made)
                made.is_fenced or calls.limited.discard(made)
    return {entered}
"""
_KINDS = {_FREE: "call", _IN_CONTEXT: "call in its context"}
#: Where another clock is in use, a call can be late by that, too.
_LATE = (
    "(type(value) is limits.Overrun"
    " or (clock.present is not clock.machine and clock.present() > made.limited_until)"
    ") and limit.exceeded(made, value)"
)
#: As `cancelling.by_cancelling`, whose own coroutine would cost as much as the rest.
_BY_CANCELLING = """
            kept = limits.kept(made, limit.seconds, made.started if clock.present is clock.machine else clock.machine())
            kept.add(made)
            try:
                value = await fn({arguments})
            except BaseException as error:
                if (value := await limits.came_of(made, error)) is None:
                    raise
            else:
                if made.rang or clock.machine() > made.due:
                    value = await limits.came_of(made)
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
#: Functions with more parameters are called as those with any: to pack them costs no more.
_MOST = 8
#: Written in C: an exception pending in this thread is raised after its call, not while a permit is given back.
settle = get_ident


def wrapped(plan: Plan) -> Callable[..., Any]:
    """Return the callable that carries `plan` out."""
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
    limits = core.execution.limits if limit.seconds else None  # the policy that has a limit has loaded it
    known = {
        "again": again,
        "door": door,
        "fn": fn,
        "gate": gate,
        "limit": limit,
        "limits": limits,
        "new": [True],
        "plan": plan,
    }
    cells = tuple(CellType(known[name]) for name in code.co_freevars)
    wrapper = FunctionType(code, globals(), "resilient_call", None if head is None else fn.__defaults__, cells)
    if head is not None and head.by_name:
        wrapper.__kwdefaults__ = fn.__kwdefaults__
    functools.update_wrapper(wrapper, fn)
    wrapper.outcome = MethodType(_async_outcome if is_async else _outcome, plan)  # type: ignore[attr-defined]
    return wrapper


class _Head(NamedTuple):
    """The parameters of a function: their names, and how many of them, the last ones, are given by name alone."""

    names: tuple[str, ...]
    by_name: int


def _head(fn: Callable[..., Any]) -> _Head | None:
    """Return the parameters of `fn`; None for what the wrapper has to take as `*args, **kwargs`."""
    if type(fn) is not FunctionType or fn.__code__.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS):
        return None
    code = fn.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    if code.co_posonlyargcount or len(names) > _MOST or not _OWN.isdisjoint(names):
        return None
    return _Head(names, code.co_kwonlyargcount)


@functools.cache
def _with_permit(at_door: Text | None, *, is_marked: bool) -> str:
    """Return the text of a wrapper that asks for a permit, unless a door is open."""
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
def _code(text: str, is_async: bool, head: _Head | None) -> CodeType:  # noqa: FBT001  # as the cache is asked
    """Return the code of a wrapper of functions with these parameters, or with any."""
    words = {"parameters": "*args, **kwargs", "arguments": "*args, **kwargs", "args": "args", "kwargs": "kwargs"}
    if head is not None:
        first, last = head.names[: len(head.names) - head.by_name], head.names[len(head.names) - head.by_name :]
        words["parameters"] = ", ".join((*first, *(("*", *last) if last else ())))
        words["arguments"] = ", ".join((*first, *(f"{name}={name}" for name in last)))
        words["args"] = f"({''.join(f'{name}, ' for name in first)})"
        words["kwargs"] = f"{{{', '.join(f'{name!r}: {name}' for name in last)}}}"
    inside = textwrap.indent(text.format(**_WORDS[is_async], **words), "    ")
    source = f"def made(again, door, fn, gate, limit, limits, new, plan):\n{inside}\n    return resilient_call\n"
    # Tracebacks show the lines of a file that is no file, too: of this text, so each has a name of its own.
    name = f"<resilient_tasks: {'async' if is_async else 'sync'} {_KINDS[text]}({words['parameters']})>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    space: dict[str, Any] = {}
    exec(compile(source, name, "exec"), globals(), space)  # noqa: S102  # of the texts above
    code = space["made"](*(None,) * 8).__code__
    assert isinstance(code, CodeType)  # noqa: S101
    return code


@functools.lru_cache(maxsize=512)  # a copy takes a kilobyte, and many functions have the same parameters
def _renamed(text: str, is_async: bool, head: _Head) -> CodeType:  # noqa: FBT001  # as the cache is asked
    """Return the code of a wrapper whose parameters have the names of a function's own, by which they can be given.

    It is compiled once for their number. Renaming is safe, because the code knows its variables by their places: their
    names serve callers and debuggers, and are constants where they are passed on. Tried on Python 3.11, 3.12 and 3.13.
    """
    placeholders = tuple(f"_{index}" for index in range(len(head.names)))
    code = _code(text, is_async, _Head(placeholders, head.by_name))
    own = dict(zip(placeholders, head.names, strict=True))

    def renamed(constant: Any) -> Any:
        if isinstance(constant, tuple):
            return tuple(map(renamed, constant))
        return own.get(constant, constant) if isinstance(constant, str) else constant

    names = (*head.names, *code.co_varnames[len(head.names) :])
    return code.replace(co_varnames=names, co_consts=tuple(map(renamed, code.co_consts)))


def enters(plan: Plan, new: list[bool], seconds: float = 0.0) -> bool:
    """Tell whether the pipeline has to stand around this call from its start.

    Args:
        plan: of the call.
        new: not empty before the first call, which tells of loops that multiply.
        seconds: its own limit, if it has one.
    """
    if not settings.current.enabled:
        return False
    if new:
        new.clear()
        return True
    outer = calls.running.get()
    if outer is None or not outer.is_limited:
        return False
    if seconds or outer.fenced:
        return True  # the nearer limit counts, or nothing is begun any more
    deadline, limited_until = inherited(outer, threading.get_ident(), is_async=plan.is_async)
    return deadline < limited_until  # nothing else enforces it here


def begun(  # noqa: PLR0917  # as the texts call it
    plan: Plan,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    given: Exception | Failed | Later,
    permit: Permit | None = None,
    tried: tuple[Tried, ...] = (),
) -> Work:
    """Return an invocation whose first attempts were made at once.

    Args:
        plan: of the call.
        args: its arguments,
        kwargs: and those that are given by name.
        given: what came of the last of these attempts.
        permit: which policies gave for it.
        tried: the failed attempts before that.
    """
    work = plan.work(args, kwargs)
    if isinstance(given, Exception):
        given = Failed(given)
    name = first_attempts.id_asked_for(sys._getframe(1))  # noqa: SLF001  # the wrapper's
    if name:
        work = work.changed(_id=name)
    work.tried = tried
    return work.resume_from(given, parts_of(permit))


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


#: The names that a wrapper uses itself.
_OWN = frozenset(
    (
        *(first_attempts.MADE, "permit", "mark", "around", "door", "gate"),
        *("mine", "slots", "now", "times", "first", "window"),  # at doors
        *_code(_FREE, False, None).co_varnames,
        *_code(_FREE, False, None).co_freevars,
    )
)
