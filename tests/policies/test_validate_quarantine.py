"""Validate with on_invalid="quarantine": what is kept of bad rows, and which events report it."""

import pickle

import cloudpickle
import pandas as pd
import pandera.pandas as pa
import pytest

from resilient_tasks import InvalidData, Retry, RunReport, Validate, resilient
from resilient_tasks.core.events import RowsQuarantined
from resilient_tasks.validation.schemas import fingerprint
from tests.policies import models_of_a_script as script

SCHEMA = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.gt(0))})


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


@pytest.fixture
def keeping(library, quarantine):
    """Make a `Validate` that quarantines."""
    return lambda **options: Validate(
        **{"output": library.schema, "on_invalid": "quarantine", "quarantine": quarantine, **options}
    )


class TestWhereTheRowsCameFrom:
    def test_the_names_of_the_arguments_are_kept_and_never_their_values(self, drive, library, quarantine, keeping):
        def fetch_month(month, *pages, api_key=None, **more):
            return library.frame(0)

        drive(fetch_month, validate=keeping())("2013-07", 1, 2, api_key="s3cret", place="EWR")
        kept = quarantine.read(quarantine.list()[0])
        assert kept["source"].tolist() == ["result of fetch_month(month, pages, api_key, more)"]
        assert "s3cret" not in kept.to_json()

    def test_an_argument_is_named(self, drive, library, quarantine, keeping):
        def train(frame, other=None):
            return len(frame)

        drive(train, validate=keeping(input={"frame": library.schema}, output=None))(library.frame(0))
        assert set(quarantine.read(quarantine.list()[0])["source"]) == {"argument 'frame' of train(frame)"}

    def test_a_function_without_a_signature_is_named_without_arguments(self, library, quarantine, keeping):
        class Getter:  # as some that are written in C
            __signature__ = 0

            def __call__(self, frames):
                return frames["frame"]

        resilient(validate=keeping())(Getter())({"frame": library.frame(0)})
        assert set(quarantine.read(quarantine.list()[0])["source"]) == {"result of Getter(…)"}

    def test_the_event_names_the_batch_and_where_the_schema_can_be_imported(self, quarantine, resilient_events):
        @resilient(validate=Validate(output=SCHEMA, on_invalid="quarantine", quarantine=quarantine))
        def fetch():
            return pd.DataFrame({"n": [0]})

        fetch()
        (event,), (batch,) = resilient_events, quarantine.list()
        assert (event.batch, event.schema) == (batch.batch, f"{__name__}:SCHEMA")
        assert set(quarantine.read(batch)["schema"]) == {fingerprint(SCHEMA)}

    def test_a_model_without_a_name_in_the_functions_module_has_its_own(self, quarantine, resilient_events):
        policy = Validate(output=script.OfPandas, on_invalid="quarantine", quarantine=quarantine)
        for kept in (policy, pickle.loads(cloudpickle.dumps(policy))):
            resilient(validate=kept)(lambda: pd.DataFrame({"n": [0]}))()
        assert {event.schema for event in resilient_events} == {f"{script.__name__}:OfPandas"}

    def test_a_schema_that_cannot_be_imported_is_not_named(self, quarantine, resilient_events):
        hidden = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.gt(0))})

        @resilient(validate=Validate(output=hidden, on_invalid="quarantine", quarantine=quarantine))
        def fetch():
            return pd.DataFrame({"n": [0]})

        fetch()
        assert resilient_events[0].schema == ""


class TestThresholds:
    @pytest.mark.parametrize(("allowed", "bad"), [(0, 0), (2, 2), (1.0, 9)])
    def test_up_to_a_number_or_a_fraction_the_good_rows_are_passed_on(self, drive, library, keeping, allowed, bad):
        policy = keeping(max_invalid=allowed)
        assert library.numbers(drive(library.frame, validate=policy)(*[0] * bad, 5)) == [5]

    @pytest.mark.parametrize(("allowed", "bad"), [(0, 1), (2, 3), (0.5, 2)])
    def test_above_it_the_batch_is_refused(self, drive, library, keeping, allowed, bad):
        with pytest.raises(InvalidData, match=f"more than max_invalid={allowed} allows"):
            drive(library.frame, validate=keeping(max_invalid=allowed))(*[0] * bad, 5)

    def test_one_is_a_row_and_one_point_zero_is_all_rows(self, drive, library, keeping):
        with pytest.raises(InvalidData, match="more than max_invalid=1 allows"):
            drive(library.frame, validate=keeping(max_invalid=1))(0, 0)
        assert library.numbers(drive(library.frame, validate=keeping(max_invalid=1.0))(0, 0)) == []

    def test_rows_are_counted_as_read_good_and_bad_ones_together(self, drive, library, keeping):
        assert library.numbers(drive(library.frame, validate=keeping(min_rows=3))(0, 0, 1)) == [1]

    def test_too_few_rows_leave_their_evidence_too(self, drive, library, quarantine, keeping, resilient_events):
        with pytest.raises(InvalidData, match="result: 2 rows; at least 3 were expected"):
            drive(library.frame, validate=keeping(min_rows=3))(0, 1)
        assert quarantine.rows() == 1
        assert resilient_events[0].action == "batch refused, bad rows quarantined"


class TestAttempts:
    def call(self, drive, keeping, *frames):
        left = iter(frames)
        return drive(lambda: next(left), validate=keeping(max_invalid=0.5), retry=Retry(on=InvalidData, wait=0))

    def test_of_two_bad_attempts_the_report_counts_the_last(
        self, drive, library, quarantine, keeping, resilient_events
    ):
        self.call(drive, keeping, library.frame(0, 0), library.frame(1, 0))()
        assert quarantine.rows() == RunReport(resilient_events).quarantined == 1

    def test_a_good_attempt_removes_its_rows_with_an_event(self, drive, library, quarantine, keeping, resilient_events):
        self.call(drive, keeping, library.frame(0, 0), library.frame(1, 2))()
        kept, taken = (event for event in resilient_events if isinstance(event, RowsQuarantined))
        assert (taken.action, taken.rows, taken.invalid) == ("taken out of quarantine", 2, 0)
        assert (taken.path, taken.batch) == (kept.path, kept.batch)
        assert quarantine.rows() == RunReport(resilient_events).quarantined == 0

    def test_if_nothing_was_kept_nothing_is_removed(self, drive, library, keeping, resilient_events):
        flaky = iter([ConnectionError(), library.frame(1)])

        def fetch():
            item = next(flaky)
            if isinstance(item, Exception):
                raise item
            return item

        drive(fetch, validate=keeping(), retry=Retry(wait=0))()
        assert "rows.quarantined" not in resilient_events.names

    def test_a_batch_that_was_refused_to_the_end_stays(self, drive, library, quarantine, keeping, resilient_events):
        self.call(drive, keeping, library.frame(0, 0), library.frame(0, 0, 0), library.frame(0)).outcome()
        assert quarantine.rows() == RunReport(resilient_events).quarantined == 1
