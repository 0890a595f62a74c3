"""Validate of a value that holds several frames: each is split, quarantined and reported by its name."""

import dataclasses
import pickle
from collections import OrderedDict, defaultdict
from types import MappingProxyType
from typing import Any, NamedTuple, TypedDict

import pandas as pd
import pandera.pandas as pa
import pytest
from prefect import flow
from pydantic import BaseModel

from resilient_tasks import (
    Degraded,
    Drift,
    DriftDetected,
    InvalidData,
    Ok,
    PolicyError,
    Retry,
    RunReport,
    Split,
    Validate,
    explain,
    resilient,
)
from resilient_tasks.observe.quality import DataQuality
from resilient_tasks.validation.profile import profile
from resilient_tasks.validation.split import split

PANDAS = pa.DataFrameSchema({"n": pa.Column(int)})


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


class Frames(NamedTuple):
    train: Any
    test: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Halves:
    train: Any
    test: Any


class Mine(dict):
    """A dict with something of its own."""

    def __init__(self, *given, note="mine"):
        super().__init__(*given)
        self.note = note


class Pair(tuple):  # noqa: SLOT001  # as people write it
    """A tuple with something of its own."""


class Other(BaseModel):
    n: int


CONTAINERS = {
    "dict": lambda a, b: {"train": a, "test": b},
    "ordered": lambda a, b: OrderedDict(train=a, test=b),
    "default": lambda a, b: defaultdict(list, train=a, test=b),
    "own dict": lambda a, b: Mine({"train": a, "test": b}, note="yours"),
    "read-only": lambda a, b: MappingProxyType({"train": a, "test": b}),
    "named tuple": Frames,
    "dataclass": Halves,
}


def held(value):
    """The two frames in a value of any of these kinds."""
    if isinstance(value, (dict, MappingProxyType)):
        return value["train"], value["test"]
    return (value.train, value.test) if hasattr(value, "train") else tuple(value)


def _splits(value):
    if isinstance(value, Split):
        return [value]
    return [part for part in (value.values() if isinstance(value, dict) else value) if isinstance(part, Split)]


@pytest.fixture
def both(library):
    return {"train": library.schema, "test": library.schema}


class TestWhatHoldsThem:
    @pytest.mark.parametrize("kind", CONTAINERS)
    def test_a_value_with_names_keeps_its_type_and_its_good_rows(self, drive, library, both, kind):
        given = CONTAINERS[kind](library.frame(1, 0), library.frame(0, 0, 2))
        value = drive(lambda: given, validate=Validate(output=both, on_invalid="drop"))()
        assert type(value) is type(given)
        assert [library.numbers(frame) for frame in held(value)] == [[1], [2]]
        assert [len(frame) for frame in held(given)] == [2, 3], "what the function returned is not changed"
        if kind == "default":
            assert value["more"] == []
        if kind == "own dict":
            assert value.note == "yours"

    @pytest.mark.parametrize("kind", [tuple, list, Pair, Frames._make])
    @pytest.mark.parametrize("schemas", [tuple, list, Frames._make])
    def test_a_sequence_takes_a_tuple_of_schemas(self, drive, library, kind, schemas):
        given = kind([library.frame(1, 0), library.frame(0, 0, 2)])
        policy = Validate(output=schemas([library.schema, library.schema]), on_invalid="drop")
        value = drive(lambda: given, validate=policy)()
        assert type(value) is type(given)
        assert [library.numbers(frame) for frame in value] == [[1], [2]]

    def test_the_keyword_takes_a_tuple_of_schemas(self, drive, library):
        call = drive(lambda *numbers: (library.frame(1), library.frame(*numbers)), validate=(None, library.schema))
        with pytest.raises(InvalidData, match=r"result\[1\]: 1 of 1 row invalid"):
            call(0)
        assert library.numbers(call(3)[1]) == [3]

    def test_a_named_tuple_of_schemas_takes_a_value_with_names(self, drive, library):
        policy = Validate(output=Frames(library.schema, None), on_invalid="drop")
        value = drive(lambda: {"train": library.frame(0), "test": 7}, validate=policy)()
        assert (library.numbers(value["train"]), value["test"]) == ([], 7)

    def test_a_part_without_a_schema_is_unchanged(self, drive, library):
        given = {"train": library.frame(1, 0), "test": "no frame"}
        policy = Validate(output={"train": library.schema, "test": None}, on_invalid="drop")
        value = drive(lambda: given, validate=policy)()
        assert (library.numbers(value["train"]), value["test"]) == ([1], "no frame")

    def test_the_schemas_may_be_of_different_libraries(self, drive, library):
        policy = Validate(output={"frame": library.schema, "records": Other}, on_invalid="drop")
        value = drive(lambda: {"frame": library.frame(0), "records": [{"n": 1}, {"n": "x"}]}, validate=policy)()
        assert (library.numbers(value["frame"]), value["records"]) == ([], [{"n": 1}])

    def test_with_warn_the_same_object_is_passed_on(self, drive, library, both):
        given = {"train": library.frame(0), "test": library.frame(0)}
        assert drive(lambda: given, validate=Validate(output=both, on_invalid="warn"))() is given

    def test_keys_may_be_any_text_or_number(self, drive, library, quarantine):
        names = ["", "a/b", "a.b", "..", "A", "a", "a b", "ä", "x" * 300, 2013]
        policy = Validate(output=dict.fromkeys(names, library.schema), on_invalid="quarantine", quarantine=quarantine)
        drive(lambda: {name: library.frame(*[0] * (at + 1)) for at, name in enumerate(names)}, validate=policy)()
        assert sorted(batch.rows for batch in quarantine.list()) == [at + 1 for at in range(len(names))]


class TestWhatIsMissing:
    @pytest.mark.parametrize(
        ("given", "problem"),
        [
            ({"train": 1}, r"result: 'test' is missing"),
            ({"train": 1, "test": 1, "valid": 1}, r"result: 'valid' is not expected: give it a schema, or None"),
            ({"train": 1, "tset": 1}, r"result: 'test' is missing; 'tset' is not expected"),
            ({}, r"result: 'train' is missing; 'test' is missing"),
        ],
    )
    def test_it_is_named(self, drive, library, both, given, problem):
        value = {name: library.frame(1) for name in given}
        with pytest.raises(InvalidData, match=problem):
            drive(lambda: value, validate=Validate(output=both))()

    @pytest.mark.parametrize("size", [0, 1, 3])
    def test_a_tuple_of_another_length_is_refused(self, drive, library, size):
        policy = Validate(output=(library.schema, library.schema))
        with pytest.raises(InvalidData, match=rf"result: {size} parts?; 2 were expected"):
            drive(lambda: (library.frame(1),) * size, validate=policy)()

    def test_the_other_parts_are_checked_all_the_same(self, drive, library, both, quarantine):
        policy = Validate(output=both, on_invalid="quarantine", quarantine=quarantine)
        with pytest.raises(InvalidData, match="'test' is missing"):
            drive(lambda: {"train": library.frame(0)}, validate=policy)()
        assert quarantine.rows() == 1

    @pytest.mark.parametrize(
        ("by_name", "made", "sentence"),
        [
            (True, lambda a, b: (a, b), r"for a dict, a named tuple or a dataclass with 'train', 'test', and the data"),
            (True, lambda a, _: a, r"the data is a .*DataFrame; a schema is for a frame"),
            (True, lambda *_: None, "the data is a NoneType"),
            (False, lambda a, b: {"train": a, "test": b}, "is a dict; a mapping of schemas is for what has names"),
            (False, Halves, "the data is a .*Halves; a mapping of schemas"),
            (False, lambda a, _: a, "for a tuple or a list of 2 frames"),
        ],
    )
    def test_a_value_of_another_shape_is_refused_with_a_hint(self, library, both, by_name, made, sentence):
        policy = Validate(output=both if by_name else tuple(both.values()))
        with pytest.raises(TypeError, match=sentence):
            resilient(validate=policy)(lambda: made(library.frame(1), library.frame(1)))()

    def test_a_part_that_is_no_frame_is_named(self, drive, library, both):
        with pytest.raises(TypeError, match="write the schema for that library, or convert the data") as info:
            drive(lambda: {"train": library.frame(1), "test": 5}, validate=Validate(output=both))()
        assert "in result['test']" in info.value.__notes__


class TestEvents:
    def test_each_part_has_a_batch_and_an_event_by_its_name(self, drive, library, both, quarantine, resilient_events):
        policy = Validate(output=both, on_invalid="quarantine", quarantine=quarantine)
        drive(lambda: {"train": library.frame(1, 0), "test": library.frame(0, 0)}, validate=policy)()
        assert [(event.part, event.invalid) for event in resilient_events] == [("train", 1), ("test", 2)]
        assert resilient_events[0].sentence().startswith("train: 1 of 2 rows quarantined (n: greater_than(0)) in ")
        batches = {batch.batch.partition("-result")[2]: batch.rows for batch in quarantine.list()}
        assert batches == {".train": 1, ".test": 2}
        source = {quarantine.read(batch)["source"][0].partition(" of ")[0] for batch in quarantine.list()}
        assert source == {"result['train']", "result['test']"}
        assert RunReport(resilient_events).quarantined == 3

    def test_artifact_and_headline_name_the_parts(self, drive, library, both, quarantine, resilient_events):
        policy = Validate(output=both, on_invalid="quarantine", quarantine=quarantine)
        drive(lambda: {"train": library.frame(1, 0), "test": library.frame(0, 0)}, validate=policy)()
        quality = DataQuality(resilient_events)
        assert quality.headline().startswith("3 of 4 rows quarantined (test: n: greater_than(0) ×2, train: n: ")
        text = quality.markdown()
        assert "test | `n: greater_than(0)` | 2 | 2 |" in text
        assert "train | `n: greater_than(0)` | 1 | 2 |" in text

    def test_an_argument_is_named_in_its_event(self, drive, library, resilient_events):
        def train(frame, other=None):
            return len(frame)

        call = drive(train, validate=Validate(input={"other": library.schema}, on_invalid="drop"))
        call(library.frame(0), library.frame(0))
        assert [event.part for event in resilient_events] == ["other"]
        assert resilient_events[0].sentence().startswith("other: 1 of 1 row invalid: dropped")

    def test_the_event_of_a_single_result_has_no_part(self, drive, library, resilient_events):
        drive(library.frame, validate=Validate(output=library.schema, on_invalid="drop"))(0)
        assert "part" not in resilient_events[0].as_dict()

    def test_every_bad_part_is_kept_and_reported_before_the_value_is_refused(
        self, drive, library, both, quarantine, resilient_events
    ):
        policy = Validate(output=both, on_invalid="quarantine", quarantine=quarantine, max_invalid=1)
        call = drive(lambda: {"train": library.frame(0, 0), "test": library.frame(0)}, validate=policy)
        with pytest.raises(InvalidData, match=r"result\['train'\]: 2 of 2 rows invalid.* more than max_inv") as info:
            call()
        assert quarantine.rows() == 3
        actions = [event.action for event in resilient_events if event.name == "rows.quarantined"]
        assert actions == ["batch refused, bad rows quarantined", "quarantined"]
        assert "result['test']" not in str(info.value)
        assert [*info.value.reports] == ["train"]
        assert info.value.report is info.value.reports["train"]

    def test_all_refused_parts_are_in_one_error(self, drive, library, both):
        call = drive(lambda: {"train": library.frame(0, 0), "test": library.frame(0)}, validate=Validate(output=both))
        with pytest.raises(InvalidData, match=r"result\['train'\]: 2 of 2 .*; result\['test'\]: 1 of 1") as info:
            call()
        assert {name: report.invalid for name, report in info.value.reports.items()} == {"train": 2, "test": 1}
        assert pickle.loads(pickle.dumps(info.value)).reports.keys() == {"train", "test"}

    def test_limits_hold_for_each_part(self, drive, library, both):
        policy = Validate(output=both, on_invalid="drop", max_invalid=0.5, min_rows=2)
        frames = {"train": library.frame(0, 1), "test": library.frame(1, 1)}
        assert drive(lambda: frames, validate=policy)() is not None
        with pytest.raises(InvalidData, match=r"result\['test'\]: 1 row; at least 2"):
            drive(lambda: {**frames, "test": library.frame(1)}, validate=policy)()

    def test_a_frame_that_is_wrong_as_a_whole_is_named(self, drive, library, both, resilient_events):
        frames = {"train": library.frame(1), "test": library.make({"n": [1]})}
        with pytest.raises(InvalidData, match=r"result\['test'\] as a whole: column 'who'"):
            drive(lambda: frames, validate=Validate(output=both))()
        resilient_events.clear()
        drive(lambda: frames, validate=Validate(output=both, on_schema_error="warn"))()
        assert [(event.part, event.action) for event in resilient_events] == [("test", "frame let pass unchecked")]

    def test_explain_names_the_parts(self, drive, library, both):
        call = drive(lambda: None, validate=Validate(output=both, on_invalid="drop"))
        assert explain(call.decorated).splitlines()[0] == "1. validate output of train, test: on_invalid='drop'"


class TestBesideOtherPolicies:
    def test_a_later_attempt_removes_the_part_that_is_good_now(
        self, drive, library, both, quarantine, resilient_events
    ):
        attempts = iter([(library.frame(0, 0), library.frame(0)), (library.frame(1, 0), library.frame(1))])
        policy = Validate(output=both, on_invalid="quarantine", max_invalid=1, quarantine=quarantine)
        call = drive(lambda: Frames(*next(attempts)), validate=policy, retry=Retry(on=InvalidData, wait=0))
        assert [library.numbers(frame) for frame in call()] == [[1], [1]]
        assert [batch.batch.partition(".")[2] for batch in quarantine.list()] == ["train"]
        assert RunReport(resilient_events).quarantined == quarantine.rows() == 1

    def test_a_stand_in_satisfies_the_schemas_too_and_its_rows_are_kept_apart(self, drive, library, both, quarantine):
        policy = Validate(output=both, on_invalid="quarantine", quarantine=quarantine, max_invalid=1)
        frames = {"train": library.frame(0, 0), "test": library.frame(1)}
        stand_in = {"train": library.frame(0, 2), "test": library.frame(3)}
        outcome = drive(lambda: frames, validate=policy, fallback=lambda: stand_in).outcome()
        assert isinstance(outcome, Degraded)
        assert [library.numbers(frame) for frame in outcome.value.values()] == [[2], [3]]
        assert sorted(batch.batch.partition("-result.")[2] for batch in quarantine.list()) == ["", "train"]

    def test_arguments_may_hold_several_frames_too(self, drive, library, both, quarantine, resilient_events):
        def train(frames, other=None):
            return [library.numbers(frame) for frame in frames.values()]

        policy = Validate(input={"frames": both}, on_invalid="quarantine", quarantine=quarantine)
        call = drive(train, validate=policy)
        assert call({"train": library.frame(1, 0), "test": library.frame(2)}) == [[1], [2]]
        assert resilient_events[0].part == "frames['train']"
        assert quarantine.list()[0].batch.endswith("-frames.train")
        with pytest.raises(InvalidData, match="argument 'frames': 'test' is missing"):
            call({"train": library.frame(1)})

    def test_an_argument_named_result_is_an_argument(self, drive, library, quarantine):
        policy = Validate(
            input={"result": library.schema}, output=library.schema, on_invalid="quarantine", quarantine=quarantine
        )
        drive(lambda result: library.frame(0), validate=policy)(library.frame(0, 0))
        assert sorted(batch.rows for batch in quarantine.list()) == [1, 2]


class TestBranch:
    def test_the_caller_gets_a_split_of_each_part(self, drive, library, both, resilient_events):
        call = drive(Frames._make, validate=Validate(output=both, on_invalid="branch"))
        match call.outcome([library.frame(1, 0), library.frame(2)]):
            case Ok(Frames(Split(good=good, bad=bad), Split(bad=none))):
                assert (library.numbers(good), library.numbers(bad), len(none)) == ([1], [0], 0)
            case other:
                pytest.fail(f"got {other}")
        assert [(event.part, event.action) for event in resilient_events] == [("train", "split off")]

    def test_a_split_that_the_function_made_is_not_split_again(self, drive, library, both):
        made = split(library.frame(1, 0), library.schema)
        call = drive(
            lambda: {"train": made, "test": library.frame(1)}, validate=Validate(output=both, on_invalid="branch")
        )
        assert call()["train"] is made

    class Parts(NamedTuple):
        train: Split[pd.DataFrame]
        test: Split[pd.DataFrame]

    class Typed(TypedDict):
        train: Split[pd.DataFrame]
        test: Split[pd.DataFrame]

    @pytest.mark.parametrize(
        "annotation",
        [dict[str, Split[pd.DataFrame]], tuple[Split, int], "tuple[Split[hidden.Frame], ...]", Parts, Typed],
    )
    def test_a_function_may_be_annotated_with_what_its_callers_get(self, drive, library, both, annotation):
        def fetch():
            return {"train": library.frame(1), "test": library.frame(1)}

        fetch.__annotations__["return"] = annotation
        assert drive(fetch, validate=Validate(output=both, on_invalid="branch"))()["train"].report.rows == 1

    @pytest.mark.parametrize(
        ("annotation", "held"),
        [
            (Split[pd.DataFrame], lambda part: part),
            (dict[str, Split[pd.DataFrame]], lambda part: {"train": part}),
            (tuple[Split[pd.DataFrame], int], lambda part: (part, 1)),
            (Parts, lambda part: TestBranch.Parts(part, part)),
        ],
    )
    def test_a_flow_may_take_them_as_typed_parameters(self, annotation, held):
        def train(given):
            return given

        train.__annotations__["given"] = annotation
        given = held(split(pd.DataFrame({"n": [1]}), PANDAS))
        taken = flow(train).validate_parameters({"given": given})["given"]
        assert [id(part) for part in _splits(taken)] == [id(part) for part in _splits(given)]

    @pytest.mark.parametrize("annotation", [dict[str, pd.DataFrame], Frames, "dict[str, pd.DataFrame]", Any, None])
    def test_a_function_with_another_annotation_is_refused(self, drive, both, annotation):
        def fetch():
            pass

        fetch.__annotations__["return"] = annotation
        with pytest.raises(PolicyError, match=r"Splits in place of frames: annotate it -> dict\[str, Split"):
            drive(fetch, validate=Validate(output=both, on_invalid="branch"))


class TestDrift:
    USUAL, UNUSUAL = (*range(1, 101),), (*range(51, 151),)

    @pytest.fixture
    def gate(self, library):
        return lambda on_drift: Drift(
            profile(library.frame(*self.USUAL), library.schema), on_drift=on_drift, columns=["n"], min_rows=50
        )

    @pytest.mark.parametrize("on_drift", ["branch", "stop"])
    def test_a_gate_is_named_by_its_part(self, library, both, gate, resilient_events, on_drift):
        policy = Validate(output=both, drift={"test": gate(on_drift)})
        frames = {"train": library.frame(*self.UNUSUAL), "test": library.frame(*self.USUAL)}
        fetch = resilient(validate=policy)(lambda: frames)
        assert fetch() is not None
        assert resilient_events == []
        frames["test"] = library.frame(*self.UNUSUAL)
        outcome = fetch.outcome()
        error = outcome.because if on_drift == "branch" else outcome.error
        assert isinstance(error, DriftDetected)
        assert "result['test']: n drifted" in str(error)
        assert [event.part for event in resilient_events if event.name == "data.drifted"] == ["test"]
        assert resilient_events[0].sentence().startswith(f"test: drift ({on_drift}): n drifted")

    def test_every_part_is_reported_before_one_stops_the_call(self, drive, library, both, gate, resilient_events):
        frames = {"train": library.frame(*self.UNUSUAL), "test": library.frame(*self.UNUSUAL)}
        policy = Validate(output=both, drift={"train": gate("stop"), "test": gate("warn")})
        drive(lambda: frames, validate=policy).outcome()
        assert [event.part for event in resilient_events if event.name == "data.drifted"] == ["train", "test"]

    def test_a_gate_without_a_name_is_refused(self, both, gate):
        with pytest.raises(PolicyError, match=r"is a mapping by name: \{'train': Drift\(\.\.\.\), 'test': Drift"):
            Validate(output=both, drift=gate("warn"))

    @pytest.mark.parametrize("name", ["valid", "records"])
    def test_a_gate_for_a_part_that_does_not_exist_is_refused(self, library, gate, name):
        with pytest.raises(PolicyError, match=r"its frames are \['train'\]"):
            Validate(output={"train": library.schema, "records": Other}, drift={name: gate("warn")})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"output": {}}, "No part has a schema"),
        ({"output": ()}, "No part has a schema"),
        ({"output": {"train": None}}, "No part has a schema"),
        ({"output": {"train": dict}}, r"A schema is a pandera DataFrameSchema .* It is given for the part 'train'"),
        ({"output": (PANDAS, {"x": PANDAS})}, r"a dict is none of these. It is given for the part '1'"),
        ({"output": [Other]}, r"write Other for a list of records, or \(Other,\) for a tuple"),
        ({"output": {1: PANDAS, "1": PANDAS}}, "Two parts have the same name"),
        ({"input": {"frames": {"train": 7}}}, "It is given for the part 'train'"),
    ],
)
def test_contradictory_options_are_refused(arguments, sentence):
    with pytest.raises(PolicyError, match=sentence):
        Validate(**arguments)


def test_several_parameters_are_named(drive):
    with pytest.raises(PolicyError, match=r"by name: \{'a': \.\.\., 'b': \.\.\.\}"):
        drive(lambda a, b: a, validate=Validate(input=(PANDAS, PANDAS)))


def test_a_mapping_alone_may_mean_arguments_or_parts_and_is_refused(drive):
    with pytest.raises(PolicyError, match=r"Validate\(output=\{'train': .*\}\) for a result of several frames") as info:
        drive(lambda: None, validate={"train": Other, "test": Other})
    assert "Validate(input={'train': Other, 'test': Other}) for arguments" in str(info.value)
