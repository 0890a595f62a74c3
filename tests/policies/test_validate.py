"""Validate: bad data is refused, split off or reported, in pandas and in polars, on the way in and out."""

import pandera.pandas as pa
import pytest

from resilient_tasks import (
    Degraded,
    Fallback,
    InvalidData,
    Kind,
    Ok,
    Pipeline,
    PolicyError,
    Quarantine,
    Retry,
    Validate,
    explain,
)

PANDAS = pa.DataFrameSchema({"n": pa.Column(int)})


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


class TestOutput:
    def test_good_data_passes(self, drive, library, resilient_events):
        frame = drive(library.frame, validate=library.schema)(1, 2, 3)
        assert library.numbers(frame) == [1, 2, 3]
        assert resilient_events == []

    def test_raise_refuses_a_batch_with_a_bad_row(self, drive, library, resilient_events):
        with pytest.raises(InvalidData, match=r"frame: result: 1 of 3 rows invalid") as info:
            drive(library.frame, validate=library.schema)(1, 0, 3)
        assert (info.value.report.rows, info.value.report.invalid) == (3, 1)
        event = resilient_events[0]
        assert (event.name, event.action, event.rows, event.invalid) == ("rows.invalid", "refused", 3, 1)
        assert event.reasons == {"n: greater_than(0)": 1}

    def test_drop_passes_on_the_good_rows(self, drive, library, resilient_events):
        frame = drive(library.frame, validate=Validate(output=library.schema, on_invalid="drop"))(1, 0, 3)
        assert library.numbers(frame) == [1, 3]
        assert [(event.name, event.action) for event in resilient_events] == [("rows.invalid", "dropped")]

    def test_warn_passes_on_all_rows(self, drive, library, resilient_events):
        frame = drive(library.frame, validate=Validate(output=library.schema, on_invalid="warn"))(1, 0, 3)
        assert library.numbers(frame) == [1, 0, 3]
        assert resilient_events[0].action == "let pass"

    def test_quarantine_keeps_the_bad_rows_with_their_reasons(self, drive, library, quarantine, resilient_events):
        policy = Validate(output=library.schema, on_invalid="quarantine", quarantine=quarantine)
        frame = drive(library.frame, validate=policy)(1, 0, -3)
        assert library.numbers(frame) == [1]
        (batch,) = quarantine.list()
        assert (batch.operation, batch.rows) == ("Library.frame", 2)
        kept = quarantine.read(batch)
        assert [row["n"] for row in kept["values"]] == [0, -3]
        assert kept["reasons"][0][0]["check"] == "greater_than(0)"
        (event,) = resilient_events
        assert (event.name, event.action, event.path) == ("rows.quarantined", "quarantined", str(batch.path))
        assert set(kept["call"]) == {event.call}

    def test_the_quarantine_may_be_a_folder_or_the_configured_one(self, drive, library, tmp_path, own_settings):
        own_settings(quarantine=str(tmp_path / "configured"))
        options = {"output": library.schema, "on_invalid": "quarantine"}
        drive(library.frame, validate=Validate(**options))(0)
        drive(library.frame, validate=Validate(**options, quarantine=str(tmp_path / "own")))(0, 0)
        assert Quarantine(tmp_path / "configured").rows() == 1
        assert Quarantine(tmp_path / "own").rows() == 2

    def test_good_rows_are_not_passed_on_if_the_bad_ones_cannot_be_kept(self, drive, library, tmp_path):
        (tmp_path / "file").write_text("in the way")
        policy = Validate(output=library.schema, on_invalid="quarantine", quarantine=str(tmp_path / "file" / "q"))
        with pytest.raises(OSError, match="Cannot write batch"):
            drive(library.frame, validate=policy)(1, 0)

    def test_a_degraded_result_is_checked_and_stays_degraded(self, drive, library):
        def fail():
            raise ConnectionError

        pipeline = Pipeline(Validate(output=library.schema, on_invalid="drop"), Fallback(lambda: library.frame(1, 0)))
        outcome = drive(fail, policies=pipeline).outcome()
        assert isinstance(outcome, Degraded)
        assert library.numbers(outcome.value) == [1]

    def test_a_failure_is_not_checked(self, drive, library):
        with pytest.raises(KeyError):
            drive(lambda: {}["missing"], validate=library.schema)()

    def test_a_result_of_another_kind_is_reported_with_what_to_do(self, drive, library):
        with pytest.raises(TypeError, match="write the schema for that library, or convert the data"):
            drive(lambda: [1, 2], validate=library.schema)()

    def test_the_attempt_that_succeeded_is_kept(self, drive, library):
        def fetch():
            if not attempts:
                attempts.append(1)
                raise ConnectionError
            return library.frame(1)

        attempts = []
        outcome = drive(fetch, validate=library.schema, retry=Retry(attempts=2, wait=0)).outcome()
        assert isinstance(outcome, Ok)
        assert outcome.attempts == 2


class TestThresholds:
    @pytest.mark.parametrize(("bad", "refused"), [(1, False), (2, False), (3, True)])
    def test_above_max_invalid_the_batch_is_refused(self, drive, library, quarantine, bad, refused):
        policy = Validate(output=library.schema, on_invalid="quarantine", max_invalid=0.2, quarantine=quarantine)
        outcome = drive(library.frame, validate=policy).outcome(*[0] * bad, *[1] * (10 - bad))
        assert isinstance(outcome, Ok) is not refused
        assert quarantine.rows() == bad

    def test_a_refused_batch_still_leaves_its_evidence(self, drive, library, quarantine, resilient_events):
        policy = Validate(output=library.schema, on_invalid="quarantine", max_invalid=0.1, quarantine=quarantine)
        with pytest.raises(InvalidData, match=r"more than max_invalid=0.1 allows"):
            drive(library.frame, validate=policy)(0, 0, 3)
        assert quarantine.rows() == 2
        assert resilient_events[0].action == "batch refused, bad rows quarantined"

    def test_a_threshold_holds_for_dropping_too(self, drive, library, resilient_events):
        policy = Validate(output=library.schema, on_invalid="drop", max_invalid=0)
        assert isinstance(drive(library.frame, validate=policy).outcome(0, 1).error, InvalidData)
        assert resilient_events[0].action == "refused"

    def test_too_few_rows_are_refused(self, drive, library):
        policy = Validate(output=library.schema, min_rows=2)
        assert drive(library.frame, validate=policy).outcome(1, 2).value is not None
        with pytest.raises(InvalidData, match="result: 1 row; at least 2 were expected"):
            drive(library.frame, validate=policy)(1)


class TestTheFrameAsAWhole:
    def test_a_missing_column_refuses_the_frame_and_drops_no_row(self, drive, library, quarantine, resilient_events):
        policy = Validate(output=library.schema, on_invalid="quarantine", quarantine=quarantine)
        with pytest.raises(InvalidData, match="result as a whole"):
            drive(lambda: library.make({"n": [1]}), validate=policy)()
        assert quarantine.list() == []
        assert resilient_events.names == ["call.failed"]

    def test_it_can_be_passed_on_and_is_reported(self, drive, library, resilient_events):
        policy = Validate(output=library.schema, on_invalid="drop", on_schema_error="warn")
        assert library.numbers(drive(lambda: library.make({"n": [1, 0]}), validate=policy)()) == [1, 0]
        (event,) = resilient_events
        assert (event.action, event.rows, event.invalid) == ("frame let pass unchecked", 2, 0)


class TestInput:
    def total(self, library):
        def total(frame, other=None, *, scale=1):
            return sum(library.numbers(frame)) * scale

        return total

    def test_one_schema_is_for_the_first_parameter(self, drive, library):
        call = drive(self.total(library), validate=Validate(input=library.schema, on_invalid="drop"))
        assert call(library.frame(1, 0, 3), scale=2) == 8

    def test_a_method_is_checked_on_its_first_real_parameter(self, library):
        from resilient_tasks import resilient

        class Model:
            @resilient(validate=Validate(input=library.schema, on_invalid="drop"))
            def train(self, frame):
                return library.numbers(frame)

        assert Model().train(library.frame(1, 0)) == [1]

    def test_parameters_are_named(self, drive, library, quarantine):
        policy = Validate(input={"other": library.schema}, on_invalid="quarantine", quarantine=quarantine)
        call = drive(self.total(library), validate=policy)
        assert call(library.frame(0, 3), library.frame(1, 0)) == 3
        (batch,) = quarantine.list()
        assert batch.rows == 1
        assert batch.batch.endswith("-other")

    def test_an_argument_that_is_left_out_is_not_checked(self, drive, library):
        call = drive(self.total(library), validate=Validate(input={"other": library.schema}))
        assert call(library.frame(0, 3)) == 3

    def test_bad_input_never_reaches_the_function_or_a_fallback(self, drive, library):
        def train(frame):
            pytest.fail("the function ran")

        call = drive(train, validate=Validate(input=library.schema), fallback=Fallback(value=0, on=Kind.MALFORMED))
        with pytest.raises(InvalidData, match="train: argument 'frame': 1 of 1 row invalid"):
            call(library.frame(0))

    def test_bad_input_is_not_retried(self, drive, library, resilient_events):
        call = drive(self.total(library), validate=Validate(input=library.schema), retry=Retry(on=InvalidData))
        call.outcome(library.frame(0))
        assert "retry.scheduled" not in resilient_events.names

    def test_both_ways_at_once(self, drive, library):
        policy = Validate(input=library.schema, output=library.schema, on_invalid="drop")
        call = drive(lambda frame: library.frame(*library.numbers(frame), 0), validate=policy, retry=2)
        assert library.numbers(call(library.frame(1, -1))) == [1]
        assert explain(call.decorated).splitlines()[:3] == [
            "1. validate input: on_invalid='drop'",
            "2. retry: 2 attempts, transient, throttled and timed-out failures",
            "3. validate output: on_invalid='drop'",
        ]

    def test_arguments_that_do_not_fit_the_function_are_its_error(self, drive, library):
        call = drive(self.total(library), validate=Validate(input=library.schema))
        with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
            call(library.frame(1), nonsense=1)

    def test_a_parameter_that_does_not_exist_is_refused_at_decoration(self, drive, library):
        with pytest.raises(PolicyError, match=r"names \['fram'\], but .*total has the parameters \['frame', 'other'"):
            drive(self.total(library), validate=Validate(input={"fram": library.schema}))

    def test_a_function_without_parameters_is_refused_at_decoration(self, drive, library):
        with pytest.raises(PolicyError, match=r"is for the first parameter, and .* has none"):
            drive(lambda: None, validate=Validate(input=library.schema))


class TestBesideOtherPolicies:
    def test_malformed_data_is_not_fetched_again_unless_asked(self, drive, library):
        frames = iter([library.frame(0), library.frame(1)])
        with pytest.raises(InvalidData):
            drive(lambda: next(frames), validate=library.schema, retry=Retry(wait=0))()

    def test_malformed_data_may_be_fetched_again(self, drive, library):
        frames = iter([library.frame(0), library.frame(1)])
        call = drive(lambda: next(frames), validate=library.schema, retry=Retry(on=InvalidData, wait=0))
        assert library.numbers(call()) == [1]

    def test_a_batch_that_is_good_in_a_later_attempt_leaves_the_quarantine(self, drive, library, quarantine):
        frames = iter([library.frame(0, 0), library.frame(1, 2)])
        policy = Validate(output=library.schema, on_invalid="quarantine", max_invalid=0.5, quarantine=quarantine)
        call = drive(lambda: next(frames), validate=policy, retry=Retry(on=InvalidData, wait=0))
        assert library.numbers(call()) == [1, 2]
        assert quarantine.rows() == 0

    def test_a_fallback_stands_in_for_bad_output(self, drive, library):
        call = drive(lambda: library.frame(0), validate=library.schema, fallback=lambda: library.frame(9))
        outcome = call.outcome()
        assert isinstance(outcome.because, InvalidData)
        assert library.numbers(outcome.value) == [9]

    def test_a_stand_in_must_satisfy_the_schema_too(self, drive, library):
        call = drive(lambda: library.frame(0), validate=library.schema, fallback=lambda: library.frame(-9))
        with pytest.raises(InvalidData) as info:
            call()
        assert "failed too: InvalidData" in info.value.__notes__[0]

    def test_bad_rows_of_the_result_and_of_its_stand_in_are_both_kept(self, drive, library, quarantine):
        policy = Validate(output=library.schema, on_invalid="quarantine", max_invalid=0.5, quarantine=quarantine)
        call = drive(lambda: library.frame(0, 0, 1), validate=policy, fallback=lambda: library.frame(5, 6, -7))
        assert library.numbers(call()) == [5, 6]
        kept = [row["n"] for batch in quarantine.list() for row in quarantine.read(batch)["values"]]
        assert sorted(kept) == [-7, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, r"checks nothing: give output=Schema, or input=\{'frame': Schema\}"),
        ({"output": dict}, "A schema is a pandera DataFrameSchema or a DataFrameModel"),
        ({"input": {"frame": 7}}, "A schema is a pandera DataFrameSchema"),
        ({"output": PANDAS, "on_invalid": "explode"}, "is one of raise, quarantine, drop, warn, branch, not 'explode'"),
        ({"output": PANDAS, "on_schema_error": "drop"}, "is one of raise, warn, not 'drop'"),
        ({"output": PANDAS, "on_invalid": "drop", "max_invalid": 1.5}, "fraction from 0.0 to 1.0, such as 0.05"),
        ({"output": PANDAS, "on_invalid": "drop", "max_invalid": -1}, "1 is one row, 1.0 is all. It is not -1"),
        ({"output": PANDAS, "on_invalid": "drop", "max_invalid": True}, "It is not True"),
        ({"output": PANDAS, "on_invalid": "drop", "max_invalid": float("nan")}, "It is not nan"),
        ({"output": PANDAS, "on_invalid": "drop", "max_invalid": "5%"}, "It is not '5%'"),
        ({"output": PANDAS, "max_invalid": 0.1}, "needs on_invalid='quarantine', 'drop', 'warn' or 'branch'"),
        ({"output": PANDAS, "min_rows": -1}, "is a number of rows from 0 up, not -1"),
        ({"output": PANDAS, "min_rows": 2.0}, "is a number of rows from 0 up, not 2.0"),
    ],
)
def test_contradictory_options_are_refused(arguments, sentence):
    with pytest.raises(PolicyError, match=sentence):
        Validate(**arguments)
