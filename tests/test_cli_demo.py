"""`resilient-tasks demo`: a newcomer's first ten seconds."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import resilient_tasks


@pytest.fixture(scope="module")
def shown():
    """Return what the command prints, run in its own process."""
    script = "import sys; from resilient_tasks.cli import main; print(main(['demo']), 'prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    return done.stdout


def test_the_demo_needs_no_prefect_and_ends_well(shown):
    assert shown.splitlines()[-1] == "0 False"


def test_the_demo_shows_the_code_that_it_runs(shown):
    assert 'validate=Validate(output=Orders, on_invalid="quarantine", max_invalid=0.2)' in shown


@pytest.mark.parametrize(
    "line",
    [
        "fetch_orders: attempt 1 of 6",
        "fetch_orders: timeout of 2 s exceeded; stopped",
        "fetch_orders: recovered on attempt",
        "fetch_rates: degraded: yesterdays_rates stands in",
    ],
)
def test_the_demo_logs_each_failure_and_how_it_was_handled(shown, line):
    assert line in shown


def test_every_row_of_the_demo_is_accounted_for(shown):
    assert "12 rows read = 11 used + 1 quarantined (row 6: amount is -999.0, not greater_than(0))." in shown


def test_the_demo_prints_what_the_page_on_the_command_line_shows(shown):
    page = (Path(resilient_tasks.__file__).parents[1] / "docs" / "command-line.md").read_text(encoding="utf-8")
    lines = page.partition("$ resilient-tasks demo\n")[2].partition("```")[0].splitlines()
    assert len(lines) > 10
    rest = _without_waits(shown)
    for line in (line for line in lines if line not in {"", "..."}):
        _, found, rest = rest.partition(_without_waits(line).strip())
        assert found, f"{line!r} is not printed in this place:\n{shown}"


def _without_waits(text):
    return re.sub(r"waits \d+\.\d s", "waits", text)
