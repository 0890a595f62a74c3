"""A month of the example passes its rehearsal, and what a rehearsal finds once a policy is taken out of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "rehearsed_without.py"

pytestmark = pytest.mark.skipif(
    not int(os.environ.get("RESILIENT_TASKS_TESTS_DEEPER", "0")),
    reason="minutes of a CPU: make rehearsal-without",
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rehearsed")
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "RESILIENT_"))}
    home = {"HOME": str(folder), "PREFECT_HOME": str(folder / "prefect")}
    done = subprocess.run([sys.executable, PROGRAM], env=own | home, cwd=folder, stdout=subprocess.PIPE, check=True)
    return {line["case"]: line for line in map(json.loads, done.stdout.splitlines()) if line}


def smallest(case):
    (only,) = case["smallest"]
    return only["verdict"], only["faults"]


def test_as_it_is_no_run_fails_silently_hangs_or_acts_twice(found):
    assert found["as_it_is"]["smallest"] == []
    assert len(found["as_it_is"]["verdicts"]) == 5
    assert "recovered" in found["as_it_is"]["verdicts"]


def test_without_its_validation_a_silent_failure_is_shrunk_to_one_fault(found):
    assert smallest(found["without_validation"]) == ("failed silently", ["fetch_planes:1:data:truncated:always"])


def test_without_its_timeout_the_hang_is_found(found):
    assert smallest(found["without_a_timeout"]) == ("hung", ["month_index:1:before:slow"])


def test_wrongly_declared_idempotent_the_double_effect_is_found(found):
    assert smallest(found["wrongly_idempotent"]) == ("acted twice", ["append_month:1:after:reset"])
    assert "files/months.txt has the line '2013-01': 2 times" in found["wrongly_idempotent"]["smallest"][0]["why"]
