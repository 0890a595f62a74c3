"""What `with_options` keeps, replaces and removes; without a run."""

import pandas as pd
import pandera.pandas as pa
import pytest

from resilient_tasks import (
    Bulkhead,
    CircuitBreaker,
    Fallback,
    Pipeline,
    Policy,
    PolicyError,
    RateLimit,
    Retry,
    Validate,
    explain,
    resilient_flow,
    resilient_task,
)
from resilient_tasks.decorators.keywords import PolicyOptions

SCHEMA = pa.DataFrameSchema({"x": pa.Column(int)})


class Kept:
    name = "kept"

    def send(self, message, *, within): ...


class Custom(Policy):
    async def around(self, call, proceed):
        return await proceed(call)


def fetch(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


GIVEN = {
    "retry": 3,
    "deadline": 60,
    "timeout": 5,
    "breaker": CircuitBreaker("api"),
    "rate_limit": RateLimit("api", calls=10, per=1),
    "bulkhead": Bulkhead("api", limit=2),
    "hedge": 1,
    "single_flight": True,
    "validate": Validate(input={"frame": SCHEMA}, output=SCHEMA),
    "fallback": Fallback(value=pd.DataFrame()),
    "notify": Kept(),
    "policies": [Custom()],
}
#: `policy=` gives those of a file: tests/with_prefect/test_policies_by_name.py removes them.
POLICIES = [name for name in PolicyOptions.__annotations__ if name not in {"idempotent", "policy"}]
DECORATORS = pytest.mark.parametrize("decorate", [resilient_task, resilient_flow])


def policies_of(made):
    return made.plan.pipeline.policies


def made_of(decorate, options):
    return decorate(**options, idempotent=True)(fetch)


@DECORATORS
@pytest.mark.parametrize("keyword", POLICIES)
def test_none_removes_that_policy_and_no_other(decorate, keyword):
    made = made_of(decorate, GIVEN)
    before = explain(made)
    less = made.with_options(**{keyword: None})
    assert explain(less) == explain(made_of(decorate, {name: GIVEN[name] for name in GIVEN if name != keyword}))
    assert explain(less) != before == explain(made)
    assert type(less) is type(made)
    assert explain(less.with_options(**{keyword: None}, name="again")) == explain(less)


@DECORATORS
def test_all_can_be_removed_at_once_and_given_again(decorate):
    made = made_of(decorate, GIVEN)
    bare = made.with_options(**dict.fromkeys(POLICIES))
    assert policies_of(bare) == ()
    assert explain(bare.with_options(**GIVEN)) == explain(made)


@DECORATORS
def test_a_removed_schema_no_longer_applies_to_the_fallback(decorate):
    made = made_of(decorate, {"validate": SCHEMA, "fallback": Fallback(value=1)})
    (fallback,) = policies_of(made.with_options(validate=None))
    assert fallback.through == ()


@DECORATORS
def test_policies_none_removes_those_given_by_policies(decorate):
    made = made_of(decorate, {"retry": 3, "policies": [Validate(output=SCHEMA), Custom()]})
    for nothing in (None, [], ()):
        assert [policy.slot for policy in policies_of(made.with_options(policies=nothing))] == ["retry"]
    replaced = made.with_options(validate=SCHEMA, name="now of the keyword").with_options(policies=None)
    assert [policy.slot for policy in policies_of(replaced)] == ["retry", "validate output"]
    assert policies_of(made_of(decorate, {"policies": Pipeline(Retry(attempts=3))}).with_options(policies=None)) == ()
    assert policies_of(made_of(decorate, {"policies": [Retry(attempts=3)]}).with_options(retry=None)) == ()
    once = made_of(decorate, {"policies": (policy for policy in [Custom()])})
    assert policies_of(once.with_options(policies=None)) == ()


@DECORATORS
def test_none_may_remove_a_policy_that_contradicts_a_new_one(decorate):
    made = decorate(retry=3)(lambda: 1)
    with pytest.raises(PolicyError, match="two retry loops"):
        made.with_options(retries=2)
    assert made.with_options(retry=None, retries=2).retries == 2


@DECORATORS
def test_a_decorator_ignores_none(decorate):
    assert policies_of(decorate(**dict.fromkeys(POLICIES))(lambda: 1)) == ()
