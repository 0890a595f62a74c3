"""The example's gate: a month that is unlike the champion's is not trained on, and one that is like it is."""

import data
import flow
import pytest
import schema

from resilient_tasks.data.profile import profile


@pytest.fixture(scope="module")
def flights():
    return data.load_flights()


@pytest.fixture
def champions_month(flights, tmp_path, monkeypatch):
    monkeypatch.setenv("FLIGHT_TIMES_OUT", str(tmp_path))
    (tmp_path / "registry").mkdir()
    profile(data.month_of(flights, 1), schema.Flights).save(tmp_path / "registry" / "baseline.json")


def test_before_the_first_champion_there_is_nothing_to_compare_with(flights, tmp_path, monkeypatch):
    monkeypatch.setenv("FLIGHT_TIMES_OUT", str(tmp_path))

    assert flow.drift_since_promotion(flights) is None


@pytest.mark.usefixtures("champions_month")
def test_half_a_year_of_real_flights_is_a_shift_and_no_reason_not_to_train(flights):
    report = flow.drift_since_promotion(data.month_of(flights, 7))

    assert report.action == "warn"
    assert [column.column for column in report.noted] == ["air_time"]
    assert report.noted[0].psi == pytest.approx(0.155, abs=0.01)


@pytest.mark.usefixtures("champions_month")
def test_a_month_in_kilometres_is_not_trained_on(flights):
    february = data.month_of(flights, 2)
    report = flow.drift_since_promotion(february.assign(distance=(february["distance"] * 1.609).astype("Int64")))

    assert (report.action, report.drifted) == ("stop", ("distance",))
