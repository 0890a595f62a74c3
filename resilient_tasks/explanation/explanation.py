"""`explain`: what a pipeline will do, before it runs."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple, Self

from resilient_tasks.core import settings
from resilient_tasks.core.parameters import checks
from resilient_tasks.explanation import remarks, words
from resilient_tasks.explanation.finding import Found, found_in
from resilient_tasks.explanation.remarks import Remark
from resilient_tasks.explanation.subjects import Context, Subject, subject_of
from resilient_tasks.explanation.wording import described
from resilient_tasks.explanation.worst_case import WorstCase

#: Task runners that run tasks in threads of the flow's own process.
_IN_THREADS = frozenset({"ThreadPoolTaskRunner", "ConcurrentTaskRunner", "SequentialTaskRunner", "NoneType", ""})


class Explanation(str):
    """What a pipeline will do: a text, and the facts behind it. Of a flow, with its tasks.

    Attributes:
        name: of the task, flow or function; empty for a pipeline.
        kind: `"task"`, `"flow"`, `"function"` or `"pipeline"`.
        worst_case: the most attempts, and the longest time, of one call.
        remarks: what is unusual, with that of the tasks of a flow.
        parts: of a flow: the explanations of the resilient tasks and functions that it calls.
        not_found: of a flow: what it calls, and could not be followed.
    """

    __slots__ = ("_subject", "kind", "name", "not_found", "parts", "remarks", "worst_case")

    name: str
    kind: str
    worst_case: WorstCase
    remarks: tuple[Remark, ...]
    parts: tuple[Explanation, ...]
    not_found: tuple[str, ...]
    _subject: Subject

    @classmethod
    def of(cls, found: Examined) -> Self:
        """Return the explanation of what was examined."""
        context = found.context
        subject, worst, missed = context.subject, context.worst, context.calls.missed
        parts = tuple(map(cls.of, found.parts))
        made = cls("\n".join(_text(subject, worst, found.remarks, parts, missed)))
        made.name, made.kind, made.worst_case = subject.name, subject.kind, worst
        made.remarks = (*found.remarks, *(remark for part in parts for remark in part.remarks))
        made.parts, made.not_found, made._subject = parts, tuple(missed), subject
        return made

    @property
    def thing(self) -> Any:
        """The object that is explained."""
        return self._subject.thing

    def all(self) -> Iterator[Explanation]:
        """Yield this explanation, and those of all its parts."""
        yield self
        for part in self.parts:
            yield from part.all()

    @property
    def place(self) -> str:
        """The file and line of the function; empty if not known."""
        return self._subject.place

    def svg(self) -> str:
        """Return a drawing of the pipeline and of its worst case, as SVG."""
        from resilient_tasks.explanation.drawing_svg import drawn  # noqa: PLC0415  # few explanations are drawn

        return drawn(self._subject, self.worst_case)

    def drawing(self, width: int = 80) -> str:
        """Return a drawing of the pipeline and of its worst case, as text of at most `width` columns."""
        from resilient_tasks.explanation.drawing_text import drawn  # noqa: PLC0415  # few explanations are drawn

        return drawn(self._subject, self.worst_case, width)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data for JSON."""
        subject = self._subject
        return {
            "name": self.name,
            "kind": self.kind,
            "place": self.place,
            "policies": [{"slot": policy.slot, "text": described(policy)} for policy in subject.policies],
            "worst_case": self.worst_case.as_dict(),
            "in_words": [*words.sentences(subject)],
            "limits": words.enforcement(subject),
            "shared_state": words.shared_state(subject),
            "remarks": [remark.as_dict() for remark in self.remarks],
            "parts": [part.as_dict() for part in self.parts],
            "not_found": [*self.not_found],
        }


class Examined(NamedTuple):
    """A pipeline with its remarks, and those of the tasks of a flow."""

    context: Context
    remarks: tuple[Remark, ...]
    parts: tuple[Examined, ...]

    def all(self) -> Iterator[Examined]:
        """Yield this, and all its parts."""
        yield self
        for part in self.parts:
            yield from part.all()


def examined(subject: Subject, workers: str = "", seen: frozenset[int] = frozenset()) -> Examined:
    """Return a pipeline with its remarks: all that a check needs.

    Args:
        subject: what is examined.
        workers: see `Context`.
        seen: the ids of the flows around it.
    """
    seen |= {id(subject.thing)}
    calls = Found() if subject.fn is None else found_in(subject.fn, in_words=subject.shows_calls)
    if subject.kind == "flow":
        workers = workers or _workers_of(subject.thing)
    context = Context(subject, calls, workers, settings.current.store == "memory:")
    within = min(
        [subject.within, *(policy.seconds for policy in subject.of_slot("deadline") if hasattr(policy, "seconds"))]
    )
    inner = [replace(each, within=within) for each in calls.subjects if id(each.thing) not in seen]
    parts = tuple(examined(each, workers, seen) for each in inner) if subject.shows_calls else ()
    return Examined(context, tuple(remarks.remarks_on(subject, context)), parts)


def _text(
    subject: Subject, worst: WorstCase, own: tuple[Remark, ...], parts: tuple[Explanation, ...], missed: list[str]
) -> Iterator[str]:
    yield from words.lines(subject, worst)
    yield from (f"· not followed: {each}" for each in missed)
    yield from (f"! {remark}" for remark in own)
    for part in parts:
        yield f"\n{part.kind} {part.name}"
        yield textwrap.indent(str(part), "  ")


def _workers_of(flow: Any) -> str:
    """Return whether a flow's tasks run in several processes, as the beginning of a sentence."""
    runner = type(getattr(flow, "task_runner", None)).__name__
    return "" if runner in _IN_THREADS else f"{runner} runs tasks in several processes"


def explain(what: object, *, workers: int | None = None) -> Explanation:
    """Explain what a pipeline, or the pipeline of a decorated function, will do, with remarks on what is unusual.

    Args:
        what: a function decorated by this library, one of its tasks or flows, any Prefect flow, or a `Pipeline`. Of a
            flow, the resilient tasks are explained that its code names, also through other functions of yours.
        workers: how many processes run it, if that is known: state in the memory of each is then remarked on.

    Raises:
        TypeError: `what` is none of these.
    """
    return Explanation.of(examined_thing(what, workers))


def examined_thing(what: object, workers: int | None) -> Examined:
    """Return what `explain` explains.

    Raises:
        TypeError: as `explain`.
    """
    subject = subject_of(what)
    if subject is None:
        msg = f"explain takes a Pipeline or a function decorated by resilient_tasks, not {what!r}"
        raise TypeError(msg)
    if workers is not None:
        checks.positive_number(workers, "explain(workers=...)")
    return examined(subject, f"{workers} workers run it" if workers is not None and workers > 1 else "")
