# ruff: noqa: INP001 - a script beside the pages, and no part of a package
"""Draws the pictures of docs/architecture.md: the floors of the house, and four trips through it.

    python docs/pictures/architecture.py [--folder docs/images]

The floors are read from import-linter's contract in pyproject.toml, and what a room is for from its docstring, so that
the picture shows what is checked. Each picture is an SVG with colours for light and for dark pages.
"""

import argparse
import ast
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "resilient_tasks"
WIDTH = 860
#: Colours for light pages, and for dark ones.
STYLE = """
  .page { fill: #ffffff } .box { fill: #f5f7fa; stroke: #c3ccd8 } .room { fill: #dbe7f7; stroke: #8fb0dc }
  .outside { fill: #fdf1dc; stroke: #dcb46a } .line { stroke: #5b6b80; fill: none } .head { fill: #5b6b80 }
  text { fill: #1c2733; font: 14px system-ui, sans-serif } .small { font-size: 12px; fill: #52606f }
  .code { font: 12px ui-monospace, monospace; fill: #35506f } .strong { font-weight: 600 } .back { fill: #9a4b00 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #14181d } .box { fill: #1e252d; stroke: #3b4754 } .room { fill: #1d3350; stroke: #43679a }
    .outside { fill: #3a2d14; stroke: #8a6a2c } .line { stroke: #94a3b5 } .head { fill: #94a3b5 }
    text { fill: #e6ebf1 } .small { fill: #aab6c3 } .code { fill: #a9c6ea } .back { fill: #f0a95c }
  }
"""


class Stop(NamedTuple):
    """A place on a trip.

    Attributes:
        room: the room, or who it is outside of the library.
        what: what happens there.
        where: file and name in the package, such as `policies/retry/policy.py Retry`; empty outside.
        back_to: the number of an earlier stop to which the trip may return from here.
        why: when it returns.
    """

    room: str
    what: str
    where: str = ""
    back_to: int = 0
    why: str = ""


CALL = (
    Stop("your code", "fetch(“2013-07”) calls what the decorator returned"),
    Stop("core", "The wrapper, compiled once for its kind of function, makes the first attempt", "core/wrappers.py"),
    Stop("your function", "It returns: so does the wrapper, and the trip ends here. It raises: the trip goes on"),
    Stop("core", "The call so far becomes a value: arguments, id, what the first attempt gave", "core/call.py Work"),
    Stop("core", "The policies are entered in their order, the outermost first", "core/pipeline.py Pipeline"),
    Stop(
        "policies",
        "Each awaits the inner ones, sees an outcome, and returns it, another, or tries again",
        "policies/retry/policy.py Retry",
    ),
    Stop(
        "core",
        "The function is called; its error becomes a Failed",
        "core/execution/runtime.py SyncRuntime",
        6,
        "another attempt",
    ),
    Stop("core", "What happened is an event: log, report, metrics and Prefect are sinks", "core/events/bus.py Bus"),
    Stop("core", "The value, or the function’s own error with a note of the attempts", "core/outcome.py Outcome"),
)
RETRY = (
    Stop("Prefect", "The engine has set Running, and calls what it takes for the task’s function"),
    Stop("prefect", "The user’s function inside its pipeline, with a sink for this run", "prefect/task.py Body"),
    Stop("policies", "An attempt", "policies/retry/policy.py Retry"),
    Stop("your function", "It raises ConnectError"),
    Stop("core", "The failure has a kind: transient, throttled, permanent, …", "core/failures.py classify"),
    Stop(
        "policies",
        "Attempts, deadline, budget and Retry-After decide: again, in 4.1 s",
        "policies/retry/policy.py RetryBudget",
    ),
    Stop("core", "The event retry.scheduled goes to every sink", "core/events/attempts.py RetryScheduled"),
    Stop(
        "prefect",
        "AwaitingRetry, with “attempt 2 of 5: ConnectError; waits 4.1 s”",
        "prefect/states.py StateSink",
    ),
    Stop("prefect", "The one file that uses what Prefect does not document", "prefect/undocumented.py publish"),
    Stop("core", "The wait, in slices: a cancelled run ends it", "core/execution/clock.py SystemClock", 3, "Retrying"),
    Stop("prefect", "Completed: “recovered on attempt 3 of 5 (ConnectError ×2)”", "prefect/states.py StateSink"),
)
ROW = (
    Stop("your function", "It returns a frame; one of its rows has air_time = -999"),
    Stop("policies", "Validate, around the attempt", "policies/validate.py Validate"),
    Stop(
        "validation",
        "The schema is recognised: pandera, pydantic, or a mapping of them",
        "validation/schemas.py as_schema",
    ),
    Stop(
        "validation",
        "The checks run over whole columns: a mask of bad rows, reasons for those alone",
        "validation/split.py split",
    ),
    Stop(
        "validation",
        "Too many bad rows: the whole frame is InvalidData, a failed attempt",
        "validation/limits.py exceeded",
    ),
    Stop(
        "quarantine",
        "The bad rows with their values as read, row numbers and reasons",
        "quarantine/quarantine.py Quarantine",
    ),
    Stop("quarantine", "One Parquet file for the batch", "quarantine/batch_file.py encode_batch"),
    Stop("storage", "Written under a temporary name, then renamed: a folder or a bucket", "storage/files.py Files"),
    Stop("core", "The event rows.quarantined; the good rows go to the caller", "core/events/rows.py RowsQuarantined"),
    Stop("you", "Later: resilient-tasks quarantine show, and a fix"),
    Stop(
        "quarantine", "Validated again; what is good now is put aside for release", "quarantine/replay.py WaitingRows"
    ),
    Stop("quarantine", "Each row is replayed once: the ledger says which were", "quarantine/ledger.py Ledger"),
)
ALERT = (
    Stop("policies", "All policies have been tried: the outcome is Failed, or Degraded"),
    Stop(
        "alerts",
        "Notify sees what the caller will get; routes say which channels hear of it",
        "alerts/policy.py Notify",
    ),
    Stop("alerts", "What a message will say, without secrets; collected once an incident", "alerts/facts.py"),
    Stop(
        "alerts",
        "At most 50 ms of the task’s time; a store that is away is caught up with later",
        "alerts/sender.py Sender",
    ),
    Stop("alerts", "One compare-and-swap of the operation’s incidents in the store", "alerts/outbox.py Outbox"),
    Stop(
        "alerts",
        "A state machine: the first failure is a message, those like it are counted",
        "alerts/incident.py Incidents",
    ),
    Stop(
        "alerts",
        "A thread sends what is due; each delivery is leased by one process at a time",
        "alerts/dispatcher.py Dispatcher",
    ),
    Stop("alerts", "No message leaves while a test runs, or when channels are off", "alerts/gate.py takes"),
    Stop("alerts", "Slack, e-mail, webhook, console, Prefect’s blocks", "alerts/channels/slack.py Slack"),
    Stop(
        "alerts",
        "Delivered; or due again, after a pause for the whole channel",
        "alerts/delivery.py ChannelBackoff",
        7,
        "refused",
    ),
)
TRIPS = {"call": CALL, "retry": RETRY, "row": ROW, "alert": ALERT}
LABELS = {
    "call": "A call",
    "retry": "A retry under Prefect",
    "row": "A row that breaks a rule",
    "alert": "An alert",
}


def floors() -> list[list[str]]:
    """Return the rooms of each floor, from the top, as the contract "Arrows only point down" has them."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["type"] == "layers")
    return [
        [name.strip().removeprefix(f"{PACKAGE}.") for name in layer.replace("|", ":").split(":")] for layer in layers
    ]


def purpose(room: str) -> str:
    """Return the first sentence of a room's docstring."""
    path = ROOT / PACKAGE / room.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    said = (ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    return " ".join(said.split()).partition(". ")[0].rstrip(".")


def drawn_floors() -> str:
    """Return the picture of the floors."""
    parts, top, gap = [], 16, 14
    for rooms in floors():
        wide = (WIDTH - 32 - gap * (len(rooms) - 1)) // len(rooms)
        words = [wrap(purpose(room), max(16, (wide - 20) // 7)) for room in rooms]
        high = 34 + 16 * max(map(len, words))
        for at, (room, lines) in enumerate(zip(rooms, words, strict=True)):
            left = 16 + at * (wide + gap)
            parts.append(_box("room", left, top, wide, high))
            parts.append(_text(left + 10, top + 20, room, "strong"))
            parts += [_text(left + 10, top + 38 + 16 * row, line, "small") for row, line in enumerate(lines)]
        top += high + gap
    return _page("The floors of the house: a room imports from the floors below it", parts, top)


def drawn_trip(name: str) -> str:
    """Return the picture of a trip."""
    stops, parts, high, step = TRIPS[name], [], 48, 64
    for number, stop in enumerate(stops, 1):
        top = 16 + (number - 1) * step
        parts.append(_box("room" if stop.where or stop.room == "policies" else "outside", 16, top, 128, high))
        parts.append(_text(26, top + 21, f"{number}", "small"))
        parts.append(_text(26, top + 39, stop.room, "strong"))
        parts.append(_box("box", 152, top, WIDTH - 152 - 76, high))
        parts.append(_text(164, top + (21 if stop.where else 29), stop.what))
        if stop.where:
            parts.append(_text(164, top + 39, stop.where.replace(" ", " · "), "code"))
        if number < len(stops):
            parts.append(_arrow([(80, top + high), (80, top + step)]))
        if stop.back_to:
            middle, up = top + high // 2, 16 + (stop.back_to - 1) * step + high // 2
            edge = WIDTH - 76
            parts.append(_arrow([(edge, middle), (edge + 30, middle), (edge + 30, up), (edge, up)]))
            lean = f'transform="rotate(90 {edge + 40} {(middle + up) // 2})" text-anchor="middle"'
            parts.append(_text(edge + 40, (middle + up) // 2, stop.why, "small back", lean))
    return _page(LABELS[name], parts, 16 + len(stops) * step)


def _page(title: str, parts: Sequence[str], high: int) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high}" width="{WIDTH}" height="{high}">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        f'<rect class="page" width="{WIDTH}" height="{high}" rx="8"/>\n{body}\n</svg>\n'
    )


def _box(kind: str, left: int, top: int, wide: int, high: int) -> str:
    return f'<rect class="{kind}" x="{left}" y="{top}" width="{wide}" height="{high}" rx="6"/>'


def _text(left: int, base: int, words: str, kind: str = "", more: str = "") -> str:
    return f'<text x="{left}" y="{base}" class="{kind}" {more}>{escape(words)}</text>'


def _arrow(points: Sequence[tuple[int, int]]) -> str:
    (before, line), (left, top) = points[-2], points[-1]
    ahead = (left - before > 0) - (left - before < 0), (top - line > 0) - (top - line < 0)
    x, y = left - 8 * ahead[0], top - 8 * ahead[1]
    head = f"{left},{top} {x - 4 * ahead[1]},{y - 4 * ahead[0]} {x + 4 * ahead[1]},{y + 4 * ahead[0]}"
    path = " ".join(f"{x},{y}" for x, y in [*points[:-1], (x, y)])
    return f'<polyline class="line" points="{path}"/><polygon class="head" points="{head}"/>'


def pictures() -> Iterator[tuple[str, str]]:
    """Yield the name and the content of each picture."""
    yield "architecture_floors.svg", drawn_floors()
    for name in TRIPS:
        yield f"architecture_{name}.svg", drawn_trip(name)


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "docs" / "images", help="where they are written")
    folder = parser.parse_args().folder
    for name, content in pictures():
        (folder / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
