"""`resilient-tasks rehearse TARGET`: run a flow under injected faults, and show what each of them did."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient_tasks.cli.explain import named_thing
from resilient_tasks.cli.printing import (
    DONE,
    INTERRUPTED,
    STILL_WAITING,
    Subparsers,
    UsageError,
    as_json,
    print_table,
    say,
)

if TYPE_CHECKING:
    from resilient_tasks.rehearsal.results import Rehearsal

_RUNS, _SEED = 50, 7


def add_to(subparsers: Subparsers) -> None:
    """Add this command."""
    rehearse = subparsers.add_parser("rehearse", help="run a flow under injected faults, and find what it cannot bear")
    rehearse.add_argument("target", metavar="TARGET", help="the flow, as module:name or file.py:name")
    rehearse.add_argument(
        "--runs", type=int, default=_RUNS, metavar="NUMBER", help=f"how many runs at most; default: {_RUNS}"
    )
    rehearse.add_argument(
        "--seed", type=int, default=_SEED, metavar="NUMBER", help=f"the same seed, the same faults; default: {_SEED}"
    )
    rehearse.add_argument(
        "--faults", metavar="FAMILIES", help="api,timeouts,malformed,crash,alerts, or some of them; default: all"
    )
    rehearse.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=JSON",
        help="a parameter of the flow; may be given several times",
    )
    rehearse.add_argument(
        "--folder", type=Path, metavar="FOLDER", help="each run works in a copy of it; default: an empty folder"
    )
    rehearse.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="PATH",
        help="a part of the data that is not compared, such as \"result['at']\"; may be given several times",
    )
    rehearse.add_argument(
        "--prefect",
        choices=("memory", "server"),
        default="memory",
        help="the API of all runs: in memory, which is the default, or a temporary server",
    )
    rehearse.add_argument(
        "--hung-after", type=float, metavar="SECONDS", help="default: what follows from the run without faults"
    )
    rehearse.add_argument("--replay", metavar="FAULTS", help="run these faults again, and nothing else")
    rehearse.add_argument("--html", type=Path, metavar="FILE", help="write the matrix as a page")
    rehearse.add_argument("--json", action="store_true", help="print JSON")
    rehearse.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from resilient_tasks.rehearsal import matrix  # noqa: PLC0415  # only if this command is run
    from resilient_tasks.rehearsal.faults import FAMILIES, plan_of  # noqa: PLC0415
    from resilient_tasks.rehearsal.rehearsal import CannotRehearseError, rehearse  # noqa: PLC0415

    flow = named_thing(options.target)
    faults = FAMILIES if options.faults is None else options.faults.split(",")
    try:
        found = rehearse(
            flow,
            runs=options.runs,
            seed=options.seed,
            faults=faults,
            replay=plan_of(options.replay or ""),
            parameters=_parameters(options.param),
            folder=options.folder,
            ignore=options.ignore,
            prefect=options.prefect,
            patience=options.hung_after,
            progress=_progress,
        )
    except CannotRehearseError as error:
        raise UsageError(str(error)) from None
    except KeyboardInterrupt:
        sys.stderr.write("stopped in the runs without faults: nothing was injected\n")
        return INTERRUPTED
    finally:
        _clear()
    command = f"resilient-tasks rehearse {options.target}{_options(options)} --replay"

    def again(tokens: str) -> str:
        return f"{command} {shlex.quote(tokens)}"

    if options.json:
        say(as_json(found.as_dict()))
    else:
        print_table(("task", *matrix.columns(found)), matrix.rows(found))
        for sentence in matrix.sentences(found, again):
            say(sentence)
    if options.html:
        options.html.write_text(matrix.page(found, again), encoding="utf-8")
    if not found.passed:
        return STILL_WAITING
    return INTERRUPTED if found.was_stopped else DONE


def _parameters(given: list[str]) -> Mapping[str, Any]:
    parameters = {}
    for each in given:
        name, is_given, text = each.partition("=")
        if not is_given or not name.isidentifier():
            raise UsageError(f"--param takes NAME=JSON, such as month=7, not {each!r}.")
        try:
            parameters[name] = json.loads(text)
        except ValueError:
            parameters[name] = text  # a text needs no quotes
    return parameters


def _options(options: argparse.Namespace) -> str:
    """Return the options that a replay needs, too."""
    given = [*(f"--param {shlex.quote(each)}" for each in options.param)]
    if options.folder is not None:
        given.append(f"--folder {shlex.quote(str(options.folder))}")
    if options.prefect != "memory":
        given.append(f"--prefect {options.prefect}")
    given += [f"--ignore {shlex.quote(each)}" for each in options.ignore]
    return "".join(f" {each}" for each in given)


def _progress(found: Rehearsal, planned: int) -> None:
    """Show on a terminal how far it is; nothing elsewhere."""
    if sys.stderr.isatty():
        bad = sum(result.judged.verdict.is_bad for result in found.results)
        sys.stderr.write(f"\r\x1b[K{len(found.results)} of {planned} runs, {bad} bad")
        sys.stderr.flush()


def _clear() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
