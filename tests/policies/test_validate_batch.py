"""Validate with batch=: an hour that is read again replaces its batch in the quarantine."""

import cloudpickle
import pandas as pd
import pandera.pandas as pa
import pytest

from resilient_tasks import Fallback, PolicyError, PredicateError, Retry, Validate, resilient

SCHEMA = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.gt(0))})


def frame(*numbers):
    return pd.DataFrame({"n": numbers})


@pytest.fixture
def by_hour(quarantine):
    return lambda **options: Validate(
        **{
            "output": SCHEMA,
            "on_invalid": "quarantine",
            "quarantine": quarantine,
            "batch": lambda hour: hour,
            **options,
        }
    )


def names(quarantine):
    return [(batch.batch, batch.rows) for batch in quarantine.list()]


class TestAnHourThatIsReadAgain:
    def test_replaces_its_batch(self, drive, quarantine, by_hour):
        def fetch(hour, numbers):
            return frame(*numbers)

        hourly = drive(fetch, validate=by_hour())
        for hour, numbers in [("10", [1, -1]), ("11", [-1, -2]), ("10", [1, -1])]:
            hourly(hour, numbers)
        assert sorted(names(quarantine)) == [("10-result", 1), ("11-result", 2)]

    def test_takes_its_batch_out_where_its_rows_are_good_now(self, drive, quarantine, by_hour, resilient_events):
        def fetch(hour, numbers):
            return frame(*numbers)

        hourly = drive(fetch, validate=by_hour())
        hourly("10", [1, -1])
        hourly("10", [1, 1])
        assert names(quarantine) == []
        last = resilient_events.named("rows.quarantined")[-1]
        assert (last.action, last.batch, last.invalid) == ("taken out of quarantine", "10-result", 0)

    def test_does_not_wait_again_for_rows_that_were_put_back(self, drive, quarantine, by_hour):
        def fetch(hour):
            return frame(1, -1)

        hourly = drive(fetch, validate=by_hour())
        hourly("10")
        quarantine.replay("10-result", SCHEMA, fix=lambda rows: rows.assign(n=rows["n"].abs()))
        hourly("10")
        (batch,) = quarantine.list()
        assert (batch.rows, batch.waiting) == (1, 0)
        assert len(quarantine.release("fetch")) == 1

    def test_has_one_batch_for_all_attempts(self, drive, quarantine, by_hour, resilient_clock):
        attempts = iter([[-1, -2], [-1, 1]])

        def fetch(hour):
            return frame(*next(attempts))

        policy = by_hour(max_invalid=1)
        assert len(drive(fetch, validate=policy, retry=Retry(on=ValueError, wait=1))("10")) == 1
        assert names(quarantine) == [("10-result", 1)]

    def test_keeps_rows_of_an_argument_and_of_a_stand_in_apart(self, quarantine, by_hour):
        @resilient(validate=by_hour(input={"rows": SCHEMA}), fallback=Fallback(lambda hour, rows: frame(1, -7)))
        def clean(hour, rows):
            raise ConnectionError

        clean("10", frame(1, -1))
        assert sorted(names(quarantine)) == [("10-rows", 1), ("10-stand-in", 1)]

    def test_names_the_command_of_a_batch_that_was_refused(self, quarantine, by_hour):
        error = resilient(validate=by_hour(max_invalid=0))(lambda hour: frame(-1)).outcome("10").error
        assert "quarantine show 10-result --at" in error.__notes__[0]


class TestTheFunction:
    def test_crosses_to_another_process(self, quarantine, by_hour):
        policy = cloudpickle.loads(cloudpickle.dumps(by_hour()))
        resilient(validate=policy)(lambda hour: frame(-1, 1))("10")
        assert names(quarantine) == [("10-result", 1)]

    def test_that_fails_fails_the_call_before_it_is_made(self, by_hour):
        called = []

        def fetch(hour):
            called.append(hour)
            return frame(1)

        error = resilient(validate=by_hour(batch=lambda hour: hour["x"]))(fetch).outcome("10").error
        assert isinstance(error, PredicateError)
        assert "Validate(batch=...)" in str(error)
        assert called == []

    def test_that_names_another_parameter_is_refused_at_decoration(self, by_hour):
        with pytest.raises(PolicyError, match=r"Validate\(batch=\.\.\.\).*names day.*hour"):
            resilient(validate=by_hour(batch=lambda day: day))(lambda hour: frame(1))

    @pytest.mark.parametrize("name", ["orders", 3, str])
    def test_is_a_function_of_the_arguments_and_no_fixed_name(self, by_hour, name):
        with pytest.raises(PolicyError, match=r"Validate\(batch=\.\.\.\)"):
            by_hour(batch=name)

    def test_needs_a_quarantine(self):
        with pytest.raises(PolicyError, match="on_invalid='quarantine' too"):
            Validate(output=SCHEMA, on_invalid="drop", batch=lambda hour: hour)
