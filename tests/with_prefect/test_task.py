"""`@resilient_task` as a replacement for `@task`."""

import cloudpickle
import pytest
from prefect import flow, task
from prefect.cache_policies import TASK_SOURCE

from resilient_tasks import PolicyError, Retry, Timeout, configure, explain, resilient, resilient_task
from resilient_tasks.prefect.task import ResilientTask


def fetch(month: str, page: int = 1) -> str:
    """Fetch a page."""
    return f"{month}/{page}"


def test_name_docstring_signature_and_key_are_those_of_the_function():
    mine, plain = resilient_task(retry=3)(fetch), task(fetch)
    assert (mine.name, mine.description, mine.__doc__) == (plain.name, plain.description, plain.__doc__)
    assert mine.task_key == plain.task_key
    assert mine.fn is mine.__wrapped__ is fetch


def test_functions_of_one_name_have_different_keys():
    def make(number):
        if number:

            def same():
                return 1
        else:

            def same():
                return "zero"

        return resilient_task(retry=2)(same)

    assert make(0).task_key != make(1).task_key


def test_without_arguments_it_is_prefects_task_around_the_function_itself():
    assert resilient_task(fetch).fn is fetch


def test_every_keyword_of_prefects_task_is_passed_on():
    hook = lambda *_: None  # noqa: E731
    mine = resilient_task(
        retry=2, name="n", tags=["t"], version="1", log_prints=True, cache_policy=TASK_SOURCE, on_failure=[hook]
    )(fetch)
    assert (mine.name, mine.tags, mine.version, mine.log_prints) == ("n", {"t"}, "1", True)
    assert mine.cache_policy == TASK_SOURCE
    assert mine.on_failure_hooks == [hook]


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"retry": 3, "retries": 3}, "drop retries="),
        ({"retry": 3, "retry_delay_seconds": 3}, "drop retry_delay_seconds="),
        ({"retrys": 3}, "no keyword 'retrys'"),
        ({"retry": 0}, "1 or more"),
        ({"timeout": -1}, "above 0"),
        ({"validate": int}, "schema"),
        ({"fallback": "x"}, "Fallback(value=...)"),
    ],
)
def test_impossible_options_are_refused_at_decoration(options, advice):
    with pytest.raises(PolicyError) as refused:
        resilient_task(**options)(fetch)
    assert advice in str(refused.value)


def test_a_generator_is_refused_if_a_policy_would_run_it_twice_and_is_a_plain_task_otherwise():
    def numbers():
        yield 1

    with pytest.raises(PolicyError, match="again from its first item"):
        resilient_task(retry=2)(numbers)
    assert resilient_task(numbers).isgenerator


def test_a_task_is_not_wrapped_twice():
    with pytest.raises(PolicyError, match="instead of stacking"):
        resilient_task(retry=2)(task(fetch))


def test_a_resilient_function_and_a_resilient_task_merge_into_one_pipeline():
    merged = resilient_task(retry=2)(resilient(timeout=Timeout(5, enforce="cooperative"))(fetch))
    assert merged.plan.fn is fetch
    assert [policy.slot for policy in merged.plan.pipeline.policies] == ["retry", "timeout"]


def test_prefects_default_of_retries_does_not_multiply_ours(monkeypatch):
    from prefect.settings import PREFECT_TASK_DEFAULT_RETRIES, temporary_settings

    with temporary_settings({PREFECT_TASK_DEFAULT_RETRIES: 2}):
        assert task(fetch).retries == 2
        assert resilient_task(retry=3)(fetch).retries == 0


def test_with_options_keeps_type_and_policies_and_replaces_given_ones():
    mine = resilient_task(retry=Retry(attempts=3), timeout=Timeout(5, enforce="cooperative"))(fetch)
    renamed = mine.with_options(name="other")
    assert isinstance(renamed, ResilientTask)
    assert renamed.plan is mine.plan
    patient = mine.with_options(retry=9, tags=["x"])
    assert [getattr(policy, "attempts", None) for policy in patient.plan.pipeline.policies] == [9, None]
    assert patient.tags == {"x"}
    assert mine.plan.pipeline.policies[0].attempts == 3
    with pytest.raises(PolicyError, match="two retry loops multiply"):
        mine.with_options(retries=2)


def test_a_hook_added_to_a_copy_does_not_run_for_the_original():
    mine = resilient_task(retry=2)(fetch)
    mine.with_options(name="other").on_failure(lambda *_: None)
    assert mine.on_failure_hooks == []


def test_cloudpickle_keeps_its_policies():
    mine = cloudpickle.loads(cloudpickle.dumps(resilient_task(retry=Retry(attempts=7))(fetch)))
    assert isinstance(mine, ResilientTask)
    assert mine.plan.pipeline.policies[0].attempts == 7


@pytest.mark.usefixtures("resilient_prefect", "resilient_clock")
class TestOnAServer:
    def test_methods_static_and_class_methods_run_as_under_task(self):
        class Feed:
            base = "b"

            def __init__(self):
                self.calls = 0

            @resilient_task(retry=Retry(attempts=3, wait=1))
            def method(self, x):
                self.calls += 1
                if self.calls == 1:
                    raise ConnectionError("once")
                return (self.calls, x)

            @resilient_task(retry=2)
            @classmethod
            def of_class(cls, x):
                return cls.base + x

            @resilient_task(retry=2)
            @staticmethod
            def static(x):
                return x * 2

        @flow
        def around():
            return Feed().method(5), Feed.of_class("c"), Feed.static(4)

        assert around() == ((2, 5), "bc", 8)

    def test_map_gives_each_call_its_own_attempts(self):
        met = set()

        @resilient_task(retry=Retry(attempts=2, wait=1))
        def once(x):
            if x not in met:
                met.add(x)
                raise ConnectionError(str(x))
            return x * x

        @flow
        def around():
            return once.map([1, 2, 3]).result()

        assert around() == [1, 4, 9]

    def test_switched_off_it_runs_bare_and_an_outcome_raises(self):
        calls = []

        @resilient_task(retry=5, fallback=lambda: "no")
        def fails():
            calls.append(1)
            raise ConnectionError("bare")

        configure(enabled=False)
        try:
            with pytest.raises(ConnectionError, match="bare"):
                fails.outcome()
        finally:
            configure(enabled=True)
        assert len(calls) == 1

    def test_explain_lists_the_policies_of_a_task(self):
        text = explain(resilient_task(fallback=lambda month, page: "", retry=3)(fetch))
        assert text.splitlines()[0].startswith("1. fallback")
