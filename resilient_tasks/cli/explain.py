"""`resilient-tasks explain TARGET`: what tasks and flows will do, and what is unusual about them."""

from __future__ import annotations

import argparse
import contextlib
import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from resilient_tasks import safely
from resilient_tasks.cli.importing import module_named, module_of
from resilient_tasks.cli.printing import DONE, STILL_WAITING, Subparsers, UsageError, as_json, say
from resilient_tasks.core.wording import number_of

if TYPE_CHECKING:
    from resilient_tasks.explanation.explanation import Examined, Explanation
    from resilient_tasks.explanation.remarks import Remark
    from resilient_tasks.explanation.subjects import Subject


def add_to(subparsers: Subparsers) -> None:
    """Add this command."""
    explain = subparsers.add_parser("explain", help="show what tasks and flows will do, and what is unusual about them")
    explain.add_argument(
        "targets",
        nargs="+",
        metavar="TARGET",
        help="module:name or file.py:name; without a name, everything resilient in the module",
    )
    explain.add_argument("--check", action="store_true", help="print the remarks only; exit code 1 if there are any")
    explain.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="CODE",
        help="a remark to leave out; may be given several times",
    )
    explain.add_argument("--workers", type=int, metavar="NUMBER", help="how many processes run it")
    explain.add_argument("--draw", action="store_true", help="draw each pipeline and its worst case")
    explain.add_argument("--svg", metavar="FILE", help="write a drawing of the first target")
    explain.add_argument("--json", action="store_true", help="print JSON")
    explain.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from resilient_tasks.explanation.explanation import Explanation  # noqa: PLC0415  # only if this command is run

    _check_codes(options.ignore)
    with _few_collections():
        found = [each for target in options.targets for each in _examined(target, options.workers)]
    if not found:
        raise UsageError(f"Nothing resilient is in {' '.join(options.targets)}: no task, flow, function or Pipeline.")
    kept = [
        (each.context.subject, remark)
        for outer in found
        for each in outer.all()
        for remark in each.remarks
        if remark.code not in options.ignore
    ]
    if options.check and not options.json:
        _print_remarks(kept, sum(1 for each in found for _ in each.all()))
    else:
        explained = [Explanation.of(each) for each in found]
        if options.json:
            say(as_json([each.as_dict() for each in explained]))
        else:
            _print(explained, draw=options.draw)
    if options.svg:
        Path(options.svg).write_text(Explanation.of(found[0]).svg(), encoding="utf-8")
    return STILL_WAITING if options.check and kept else DONE


@contextlib.contextmanager
def _few_collections() -> Iterator[None]:
    """Collect garbage rarely: a tenth of the time of an import, which makes hardly any."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _check_codes(given: Sequence[str]) -> None:
    from resilient_tasks.core.parameters.words import meant_by  # noqa: PLC0415  # as above
    from resilient_tasks.explanation.remarks import CODES  # noqa: PLC0415  # as above

    for code in given:
        if code not in CODES:
            meant = " or ".join(meant_by(code, CODES))
            advice = f"did you mean {meant}?" if meant else f"the codes are {', '.join(CODES)}."
            raise UsageError(f"--ignore {code}: no remark has this code; {advice}")


def _print(found: Sequence[Explanation], *, draw: bool) -> None:
    for number, each in enumerate(found):
        if number:
            say("")
        say(f"{each.kind} {each.name}".rstrip())
        if draw:
            print(each.drawing())  # noqa: T201  # box-drawing characters; names in it are escaped
        say(str(each))


def _print_remarks(remarks: Sequence[tuple[Subject, Remark]], number: int) -> None:
    remarks = [*dict.fromkeys(remarks)]  # a task of two flows is found twice
    for subject, remark in remarks:
        where = f"{_relative(subject.place)}: {subject.name}" if subject.place else subject.name or subject.kind
        say(f"{where}: {remark}")
    counts = Counter(remark.code for _, remark in remarks)
    codes = f": {', '.join(f'{code} ×{count}' for code, count in counts.most_common())}" if counts else ""
    say(f"{number:,} explained, {number_of(len(remarks), 'remark')}{codes}")


def _relative(place: str) -> str:
    try:
        return str(Path(place).relative_to(Path.cwd()))
    except ValueError:
        return place


def _examined(target: str, workers: int | None) -> Iterator[Examined]:
    from resilient_tasks.explanation.explanation import examined_thing  # noqa: PLC0415  # as above

    where, _, name = target.rpartition(":") if ":" in target[2:] else (target, "", "")
    module = _module(where)
    if name:
        yield examined_thing(_named(module, name), workers)
        return
    inner: set[int] = set()
    for thing in _resilient(module):
        if id(thing) not in inner:  # flows come first, and with them their tasks
            found = examined_thing(thing, workers)
            inner |= {id(part.context.subject.thing) for part in found.all()}
            yield found


def named_thing(target: str) -> Any:
    """Return what `module:name` or `file.py:name` names.

    Raises:
        UsageError: there is no such thing, or no name is given.
    """
    where, _, name = target.rpartition(":") if ":" in target[2:] else (target, "", "")
    if not name:
        raise UsageError(f"{target} names no flow: write module:name, or a file such as flows.py:name.")
    return _named(_module(where), name)


def _named(module: ModuleType, name: str) -> Any:
    thing: Any = module
    for part in name.split("."):
        if not hasattr(thing, part):
            from resilient_tasks.core.parameters.words import did_you_mean  # noqa: PLC0415  # only for this message

            raise UsageError(f"{module.__name__} has no {name}{did_you_mean(part, dir(thing)).replace('=', '')}.")
        thing = getattr(thing, part)
    return thing


def _resilient(module: ModuleType) -> Iterator[Any]:
    """Yield what is resilient in a module and in its classes, flows first: they show their tasks."""
    from resilient_tasks.explanation.subjects import subject_of  # noqa: PLC0415  # as above

    seen: dict[int, Any] = {}
    for thing in [*vars(module).values()]:
        is_own_class = safely.is_a(thing, type) and safely.module_of(thing) == module.__name__
        inside = [*safely.attribute(thing, "__dict__", {}).values()] if is_own_class else ()
        for each in (thing, *inside):
            if not safely.is_a(each, (type, ModuleType)) and (subject := subject_of(each)) is not None:
                seen.setdefault(id(each), subject)
    for subject in sorted(seen.values(), key=lambda subject: subject.kind != "flow"):
        yield subject.thing


def _module(where: str) -> ModuleType:
    path = Path(where)
    return module_of(path) if where.endswith(".py") or path.is_file() else module_named(where)
