"""`python examples/hourly_ingest.py`: each row of the API is in DuckDB once, or waits in the quarantine."""

import datetime as dt
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from resilient_tasks import Quarantine

duckdb = pytest.importorskip("duckdb")

EXAMPLE = Path(__file__).parents[2] / "examples" / "hourly_ingest.py"
PAGE = Path(__file__).parents[2] / "docs" / "examples" / "hourly_ingest.md"


@pytest.fixture(scope="module")
def ran(tmp_path_factory, run_example_in):
    """Run the example once, with a Prefect server of its own."""
    folder = tmp_path_factory.mktemp("hourly")
    output = run_example_in(folder, "hourly_ingest.py")
    return folder / "out" / "hourly_ingest", output


def told(text):
    """Return an output without what differs from run to run."""
    text = re.sub(r"result of .* old, ", "result of TIME, ", text)
    return [line.rstrip() for line in text.strip().splitlines() if line.strip()]


def rows_of(folder, query):
    with duckdb.connect(str(folder / "orders.duckdb"), read_only=True) as db:
        return db.execute(query).fetchall()


def test_it_prints_what_the_page_shows(ran):
    _, output = ran
    shown = re.search(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    assert told(output) == told(shown)


def test_each_row_is_loaded_once_or_waits(ran):
    folder, _ = ran
    ids = [row[0] for row in rows_of(folder, "SELECT id FROM orders ORDER BY id")]
    everything = [hour * 1000 + number for hour in range(8, 13) for number in range(40)]
    assert ids == [number for number in everything if number != 10031]
    quarantine = Quarantine(folder / "quarantine")
    (batch,) = quarantine.list()
    assert (batch.batch, batch.rows, batch.waiting) == ("2026-11-27T10-result", 3, 1)
    assert quarantine.table(batch)["id"].tolist() == [10031]


def test_corrected_rows_are_in_euros_and_marked(ran):
    folder, _ = ran
    rows = rows_of(folder, "SELECT id, currency, amount, eur FROM orders WHERE released ORDER BY id")
    rates = {"EUR": 1.0, "USD": 1.08, "GBP": 0.84}
    assert [(row[0], row[2]) for row in rows] == [(10003, 12.5), (10017, 7.25)]
    assert all(eur == pytest.approx(amount / rates[currency]) for _, currency, amount, eur in rows)


def test_the_hour_with_old_rates_has_new_ones_once_it_is_loaded_again(ran):
    folder, output = ran
    assert rows_of(folder, "SELECT count(*) FROM orders WHERE degraded") == [(0,)]
    first, second = re.findall(r"2026-11-27T11 +40 +40 +(\d+)", output)
    assert (first, second) == ("40", "0")


def test_a_scheduled_run_loads_the_hour_before_it(resilient_prefect, tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("hourly_ingest", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "hourly_ingest", example)
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "ERROR")
    monkeypatch.chdir(tmp_path)
    spec.loader.exec_module(example)
    now = dt.datetime.now(dt.UTC)
    hours = [f"{now - dt.timedelta(hours=ago):%Y-%m-%dT%H}" for ago in (1, 0)]  # the next hour may begin meanwhile
    with example.morning() as server:
        for hour in hours:
            server.serve(f"/orders/{hour}", '[{"id": 1, "currency": "EUR", "amount": 2.5}]')
        monkeypatch.setenv("ORDERS_API", server.url)
        example.ingest()
    ((number, hour, euros),) = rows_of(tmp_path / example.OUT, "SELECT id, hour, eur FROM orders")
    assert (number, euros) == (1, 2.5)
    assert hour in hours
