"""A person's path: a month arrives broken, the alert says so, its rows are corrected, the next training uses them."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from resilient_tasks import InvalidData, Quarantine, Slack, Validate, resilient
from resilient_tasks.testing import flush_messages

SCHEMAS = """
import pandera.pandas as pa


class Flights(pa.DataFrameModel):
    carrier: str = pa.Field(isin=["UA", "AA", "DL"])
    distance: int = pa.Field(ge=1, coerce=True)
"""
JULY = pd.DataFrame({"carrier": ["UA", "AA", "DL", "DL"], "distance": ["1400", "800 km", "760", "2,475"]})


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with the user's own module of schemas, which the command line imports."""
    (tmp_path / "schemas_of_flights.py").write_text(SCHEMAS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def typed(line):
    """Run a command as a person types it."""
    program = [sys.executable, "-c", "from resilient_tasks.cli import main; raise SystemExit(main())"]
    words = shlex.split(line)
    assert words.pop(0) == "resilient-tasks"
    return subprocess.run([*program, *words], capture_output=True, text=True, check=False, env={**os.environ})


def test_from_the_alert_to_the_next_training(project, resilient_slack):
    from schemas_of_flights import Flights  # the user's

    def fetching(**options):
        policy = Validate(output=Flights, quarantine="bad-rows", **options)
        return resilient(validate=policy, notify=Slack(webhook=resilient_slack.webhook_url))(fetch_month)

    def fetch_month(month):
        return JULY

    with pytest.raises(InvalidData, match="2 of 4 rows invalid"):
        fetching(on_invalid="quarantine", max_invalid=0.05)("2013-07")

    flush_messages()
    (alert,) = resilient_slack.texts()
    assert "2 of 4 rows invalid: distance not a number ×2" in alert
    show = re.search(r"resilient-tasks quarantine show .*", alert)[0]

    shown = typed(show)
    assert shown.returncode == 0, shown.stderr
    assert "distance: not a number ('800 km')" in shown.stdout
    assert "2 of 2 rows wait" in shown.stdout

    assert typed(f"{show} --to rows.csv").returncode == 0
    rows = Path("rows.csv")
    rows.write_text(rows.read_text().replace("800 km", "800"))  # in an editor
    replay = f"{show.replace(' show ', ' replay ')} --schema schemas_of_flights:Flights --rows rows.csv"
    first = typed(replay)
    assert (first.returncode, first.stdout.splitlines()[0]) == (1, "1 row released, 1 still waits")
    assert "2,475" in first.stdout

    rows.write_text(rows.read_text().replace('"2,475"', "2475"))
    second = typed(replay)
    assert (second.returncode, second.stdout) == (0, "1 row released, 0 still wait\n")
    assert typed(replay).stdout == "0 rows released, 0 still wait\n"

    good = fetching(on_invalid="drop")("2013-07")
    training = pd.concat([good, Quarantine("bad-rows").release("fetch_month")], ignore_index=True)
    assert sorted(training["distance"]) == [760, 800, 1400, 2475]
    assert len(training) == len(JULY)
