"""docs/tutorial.md, typed to the letter: its files are built and its commands run, and they print what it shows."""

import ast
import json
import re
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from resilient_tasks import resilient

sys.path.insert(0, str(Path(__file__).parent))
import tutorial_page as page
from reader import PATIENCE, Reader, masked

TEXT = page.PAGE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A reader who has typed the whole page, and whose server still runs."""
    reader = Reader(tmp_path_factory.mktemp("my-first-flow"))
    try:
        reader.follow(TEXT)
        yield reader
    finally:
        reader.stop()


@resilient(retry=5)  # a server whose database is locked for a moment answers 503
def _ask(reader, path, **body):
    """Ask Prefect's API on the reader's server."""
    data = json.dumps(body).encode() if body else None
    headers = {"Content-Type": "application/json"}
    url = f"http://127.0.0.1:{reader.ports['4200']}/api/{path}"
    with urlopen(Request(url, data, headers), timeout=60) as answer:
        return json.load(answer)


def test_every_line_that_the_page_shows_is_printed_in_its_place(reader):
    for typed in reader.typed:
        printed = iter(masked(typed.printed).splitlines())
        for line in typed.shown:
            assert line == "..." or masked(line).rstrip() in (one.rstrip() for one in printed), (
                f"$ {typed.command}\nshows {line!r}, which was not printed in this place:\n{typed.printed}"
            )


def test_lines_are_left_out_only_where_the_page_says_so(reader):
    for typed in reader.typed:
        if "..." not in typed.shown and typed.command.startswith("resilient-tasks"):
            assert masked(typed.printed).split() == masked("\n".join(typed.shown)).split()


def test_only_the_first_run_fails(reader):
    first, *others = [typed for typed in reader.typed if typed.code is not None]
    assert first.code == 1
    for typed in others:
        assert typed.code == 0, typed.printed
        assert "Traceback" not in typed.printed, typed.printed


def test_the_history_in_the_ui_is_the_one_that_the_page_shows(reader):
    retried = _ask(reader, "flow_runs/filter", sort="START_TIME_ASC", limit=2)[1]
    runs = {"flow_runs": {"id": {"any_": [retried["id"]]}}}
    (task_run,) = _ask(reader, "task_runs/filter", **runs)
    states = sorted(_ask(reader, f"task_run_states/?task_run_id={task_run['id']}"), key=lambda one: one["timestamp"])
    section = TEXT.partition("## 4.")[2].partition("## 5.")[0]
    shown = re.findall(r"(?m)^\| `(\w+)` \| (.*?) ?\|$", section)
    assert [(one["name"], masked(one["message"] or "")) for one in states] == [(n, masked(m)) for n, m in shown]
    assert retried["state"]["message"] in section


def test_the_degraded_runs_have_their_tag(reader):
    degraded = _ask(reader, "flow_runs/filter", flow_runs={"state": {"name": {"any_": ["Degraded"]}}})
    assert len(degraded) == 2
    assert all("degraded" in run["tags"] for run in degraded)


def test_the_steps_add_up_to_the_whole_file(reader):
    (whole,) = [block for block in page.blocks(TEXT.partition("## The whole file")[2]) if block.language == "python"]
    assert ast.dump(ast.parse(reader.files["my_flow.py"])) == ast.dump(ast.parse(whole.text))


def test_the_schedule_starts_a_run_by_itself(reader):
    """With the cron that the page names for it, which is every minute."""
    *_, serving = reader.running
    serving.stop()
    every_minute = re.search(r'`cron="(\* \* \* \* \*)"`', TEXT)[1]
    file = reader.folder / "my_flow.py"
    file.write_text(file.read_text().replace("0 6 * * *", every_minute))
    reader.type(
        "python my_flow.py",
        "leave it running",
        ["Your flow 'daily-revenue' is being served and polling for scheduled runs!"],
    )
    until = time.monotonic() + PATIENCE
    while True:
        runs = _ask(reader, "flow_runs/filter", sort="EXPECTED_START_TIME_ASC")
        ended = [run for run in runs if run["auto_scheduled"] and run["state"]["type"] == "COMPLETED"]
        if ended:
            break
        assert time.monotonic() < until, reader.running[-1].printed
        time.sleep(0.5)
    assert ended[0]["parameters"] == {}
