"""Exceptions that cross between processes as they are: type, attributes, notes, causes and the real traceback.

Many exceptions cannot be pickled and made again in the usual way, which calls the class with `args`: its `__init__` may
want keywords (`httpx.HTTPStatusError`), or make another message of them. Here nobody's `__init__` runs but that of the
built-in base, and the attributes are put back as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace, TracebackType
from typing import Any, cast

import tblib

from resilient_tasks.core import safely
from resilient_tasks.core.error_layout import builtin_base, kept_outside, saying
from resilient_tasks.core.failures import JUDGED, judge

# Setting the cause suppresses the context: what was said of that comes last.
_LINKS = ("__traceback__", "__context__", "__cause__", "__suppress_context__")


def reduced(error: BaseException, *, keep: Callable[[object], bool]) -> tuple[Any, ...] | None:
    """Return the parts of `error` in the form of `__reduce__`, or None where its class has a way of its own.

    Args:
        error: any exception.
        keep: whether a value can cross. An attribute for which this is False is left out, and named in a note.
    """
    base = builtin_base(type(error))
    if base is None:
        return None
    _, args, *rest = cast("tuple[Any, ...]", base.__reduce__(error))
    if not safely.is_a(error, BaseExceptionGroup):  # what is in a group is reduced like this one
        show = safely.text if len(args) == 1 else safely.shown  # as the error's own text shows them
        args = tuple(arg if keep(arg) else show(arg) for arg in args)
    own = dict(safely.own(error, "__dict__"))
    outside = {name: value for name, value in (rest[0] if rest else {}).items() if name not in own}
    outside |= dict(kept_outside(error))
    lost = [name for name, value in (*own.items(), *outside.items()) if not keep(value)]
    own, outside = ({name: value for name, value in part.items() if name not in lost} for part in (own, outside))
    cls = type(error)
    said = _said_otherwise(error, (cls, base, args), (own, outside)) if lost else None
    if lost:
        note = f"left behind in its process, for want of a pickled form: {', '.join(lost)}"
        own |= {"__notes__": [*safely.notes(error), note], JUDGED: judge(error)}
    outside.update((name, safely.own(error, name)) for name in _LINKS)
    return made, (cls, base, args, said), (own, outside), None, None, complete


def _said_otherwise(
    error: BaseException,
    recipe: tuple[type[BaseException], type[BaseException], tuple[Any, ...]],
    state: tuple[dict[str, Any], dict[str, Any]],
) -> str | None:
    """Return the text of `error`, if its class would make another of it, or none, without what is left behind."""
    cls, base, _ = recipe
    if cls.__str__ is base.__str__:
        return None
    said = safely.text(error)
    try:
        again = made(*recipe)
        complete(again, state)
        return None if str(again) == said and repr(again) else said
    except Exception:
        return said


def made(
    cls: type[BaseException], base: type[BaseException], args: tuple[Any, ...], said: str | None = None
) -> BaseException:
    """Make an exception without running any code of its class; one that says `said`, if that is given."""
    cls = cls if said is None else saying(cls, said)
    error = base.__new__(cls, *args)
    base.__init__(error, *args)
    return error


def complete(error: BaseException, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Give an exception its attributes, in `__dict__` and outside of it, with its causes and its traceback."""
    own, outside = state
    error.__dict__.update(own)
    for name, value in outside.items():
        object.__setattr__(error, name, value)  # which a frozen dataclass does not refuse


def frames_of(traceback: TracebackType) -> list[tuple[str, str, int, dict[str, Any]]]:
    """Return file, function, line and the globals that name them, of each frame of a traceback, outermost first."""
    frames = []
    link: TracebackType | None = traceback
    while link is not None:
        code, around = link.tb_frame.f_code, link.tb_frame.f_globals
        named = {name: around[name] for name in ("__name__", "__file__") if isinstance(around.get(name), str)}
        frames.append((code.co_filename, code.co_name, link.tb_lineno, named))
        link = link.tb_next
    return frames


def traceback_of(frames: list[tuple[str, str, int, dict[str, Any]]]) -> TracebackType:
    """Make a traceback that reads as the one whose frames these are."""
    link: Any = None
    for filename, function, line, named in reversed(frames):
        code = SimpleNamespace(co_filename=filename, co_name=function)
        frame = SimpleNamespace(f_globals=named, f_code=code, f_lineno=line)
        link = SimpleNamespace(tb_frame=frame, tb_lineno=line, tb_next=link)
    return tblib.Traceback(link).as_traceback()  # type: ignore[no-any-return]  # tblib is not typed
