"""`python examples/batch_scoring.py`: all rows are scored but those at fault, with few requests."""

import importlib.util
import re
import sys
from pathlib import Path

import pandas as pd
import pytest

from resilient_tasks import InvalidData, Quarantine
from resilient_tasks.testing import FaultyServer, Response

EXAMPLE = Path(__file__).parents[2] / "examples" / "batch_scoring.py"
PAGE = Path(__file__).parents[2] / "docs" / "examples" / "batch_scoring.md"


@pytest.fixture(scope="module")
def ran(tmp_path_factory, run_example_in, resilient_prefect):
    """Run the example once, with the session's Prefect server."""
    folder = tmp_path_factory.mktemp("scoring")
    output = run_example_in(folder, "batch_scoring.py", PREFECT_API_URL=resilient_prefect)
    return folder / "out" / "batch_scoring", output


def test_it_prints_what_the_page_shows(ran):
    _, output = ran
    shown = re.search(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert output.strip().splitlines() == shown.strip().splitlines()


def test_each_row_has_one_score_at_the_end(ran):
    folder, _ = ran
    scores = pd.concat(pd.read_parquet(file) for file in sorted((folder / "scores").iterdir()))
    assert sorted(scores["id"]) == list(range(1000))
    assert scores["score"].between(0, 1).all()
    corrected = scores.set_index("id").loc[[137, 201, 613]]
    assert corrected[["distance", "hour"]].to_numpy().tolist() == [[762, 17], [762, 9], [200 + 613, 0]]


def test_only_the_rows_at_fault_were_in_the_quarantine(ran):
    folder, _ = ran
    quarantine = Quarantine(folder / "quarantine")
    rows = pd.concat([quarantine.read(batch) for batch in quarantine.list()])
    assert [values["id"] for values in rows["values"]] == [137, 201, 613]
    problems = [reasons[0]["value"] for reasons in rows["reasons"]]
    assert [problem[:3] for problem in problems] == ["500", "500", "422"]
    assert rows["released"].all()


def test_a_service_that_is_down_is_asked_four_times_for_four_batches(ran):
    _, output = ran
    down, up, corrected = (int(count) for count in re.findall(r"^(\d+) requests:", output, re.MULTILINE))
    assert down == 4
    assert up <= 52 + 3  # the bound, and what was repeated while the service was busy
    assert corrected == 2


@pytest.fixture
def example(monkeypatch, resilient_clock):
    spec = importlib.util.spec_from_file_location("batch_scoring", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "batch_scoring", module)
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "CRITICAL")
    spec.loader.exec_module(module)
    return module


def test_a_batch_of_which_every_row_is_refused_is_given_up_early(example, monkeypatch):
    with FaultyServer(lambda _: Response("unknown model", 422)) as server:
        monkeypatch.setenv("SCORING_URL", server.url + "/score")
        with pytest.raises(
            InvalidData, match="more than 5 rows of a batch are refused, the last one: 422 unknown model"
        ):
            example.bisected(example.flights()[:250])
        assert len(server.requests) <= 2 * 8 + 2 * example.MOST_REFUSED


def test_a_refused_key_halves_no_batch(example, monkeypatch):
    with FaultyServer(lambda _: Response("who are you?", 401)) as server:
        monkeypatch.setenv("SCORING_URL", server.url + "/score")
        with pytest.raises(example.httpx.HTTPStatusError):
            example.bisected(example.flights()[:250])
        assert len(server.requests) == 1


def test_rows_keep_their_order(example, monkeypatch):
    with FaultyServer(example.model) as server:
        monkeypatch.setenv("SCORING_URL", server.url + "/score")
        scored = example.bisected(example.flights()[:250])
    assert scored["id"].tolist() == list(range(250))
    assert scored.index[scored["problem"] != ""].tolist() == [137, 201]
