"""For any schema and any pandas frame: nothing is lost, and the good rows are what pandera accepts."""

import copy
import os
import warnings

import hypothesis
import numpy as np
import pandas as pd

from resilient_tasks.validation.split import split
from tests.validation.strategies_pandas import frames_and_schemas

EXAMPLES = int(os.environ.get("EQUIVALENCE_EXAMPLES", "150"))


def accepts(schema, frame):
    try:
        return schema.validate(frame, lazy=True)
    except Exception:
        return None


def bad_rows(result):
    return np.array([row for row, _ in result.report.rows_failed], dtype=int)


@hypothesis.settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(hypothesis.HealthCheck), print_blob=True
)
@hypothesis.given(frames_and_schemas(), hypothesis.strategies.randoms(use_true_random=False))
def test_good_and_bad_are_the_input_and_good_is_what_pandera_accepts(drawn, chance):
    frame, schema = drawn
    before = frame.copy(deep=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = split(frame, schema)
        check(frame, schema, result, chance)
    pd.testing.assert_frame_equal(frame, before)


def check(frame, schema, result, chance):
    bad = bad_rows(result)
    good = np.setdiff1d(np.arange(len(frame)), bad)
    pd.testing.assert_frame_equal(result.bad, frame.iloc[bad])
    assert result.report.invalid == len(bad)
    if result.report.frame_errors:
        pd.testing.assert_frame_equal(result.good, frame)
        assert accepts(copy.deepcopy(schema), frame) is None
        return
    assert len(result.good) == len(good)
    if len(good) or not len(frame):
        accepted = accepts(copy.deepcopy(schema), frame.iloc[good])
        assert accepted is not None
        pd.testing.assert_frame_equal(result.good, accepted)
    if judged_alone(schema):
        for row in chance.sample(list(bad), min(2, len(bad))):
            assert accepts(copy.deepcopy(schema), frame.iloc[np.sort(np.append(good, row))]) is None
        shuffled = chance.sample(range(len(frame)), len(frame))
        again = bad_rows(split(frame.iloc[shuffled], schema))
        assert sorted(np.array(shuffled, dtype=int)[again]) == sorted(bad)


def judged_alone(schema):
    """Return whether every rule is row-wise and reads values independently."""
    index = schema.index
    parts = [*schema.columns.values(), *([] if index is None else getattr(index, "indexes", [index]))]
    checks = [check for part in [schema, *parts] for check in part.checks or []]
    alone = all(check.element_wise or ("_check_fn" in vars(check) and check._check_kwargs) for check in checks)
    loose = any((part.coerce or schema.coerce) and "date" in str(part.dtype).lower() for part in parts)
    return (
        alone
        and not loose
        and not schema.unique
        and not any(part.unique for part in [*parts, *([index] if index else [])])
    )
