"""`resilient-tasks demo`: a newcomer's first ten seconds."""

import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def shown():
    """What the command prints, run by a process of its own, as a person does."""
    script = "import sys; from resilient_tasks.cli import main; print(main(['demo']), 'prefect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stderr == ""
    return done.stdout


def test_the_demo_needs_no_prefect_and_ends_well(shown):
    assert shown.splitlines()[-1] == "0 False"


def test_the_demo_shows_the_code_that_it_runs(shown):
    assert 'validate=Validate(output=Orders, on_invalid="quarantine", max_invalid=0.2)' in shown


@pytest.mark.parametrize(
    "told",
    [
        "fetch_orders: attempt 1 of 6",
        "fetch_orders: timeout of 2 s exceeded; stopped",
        "fetch_orders: recovered on attempt",
        "fetch_rates: degraded: yesterdays_rates stands in",
    ],
)
def test_the_demo_logs_each_failure_and_what_was_done_about_it(shown, told):
    assert told in shown


def test_every_row_of_the_demo_is_accounted_for(shown):
    assert "12 rows read = 11 used + 1 quarantined (row 6: amount is -999.0, not greater_than(0))." in shown
