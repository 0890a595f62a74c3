"""Options that `@resilient_flow` and `with_options` accept and refuse, without a run."""

import pytest
from prefect import flow
from prefect.settings import PREFECT_FLOW_DEFAULT_RETRIES, temporary_settings

from resilient_tasks import Deadline, PolicyError, explain, resilient_flow
from resilient_tasks.prefect.flow import ResilientFlow


def test_with_options_keeps_policies_and_type_and_replaces_a_policy_by_its_like():
    @resilient_flow(retry=3, deadline=60, on_unobserved="warn")
    def report(): ...

    report.on_failure(hook := lambda *_: None)
    other = report.with_options(name="other", deadline=Deadline(10))
    assert isinstance(other, ResilientFlow)
    assert (other.name, report.name) == ("other", "report")
    assert "retry: 3 attempts" in explain(other)
    assert "deadline: 10 s" in explain(other)
    assert "deadline: 60 s" in explain(report)
    assert other.conditions == report.conditions
    assert other.with_options(on_unobserved="fail").conditions != report.conditions
    assert (other.version, other._entrypoint) == (report.version, report._entrypoint)
    other.on_failure(lambda *_: None)
    assert report.on_failure_hooks == [hook]
    with pytest.raises(PolicyError, match="two retry loops"):
        report.with_options(retries=2)


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"retry": 2, "retries": 2}, "two retry loops multiply"),
        ({"retry": 2, "retry_delay_seconds": 2}, "drop retry_delay_seconds="),
        ({"retrys": 2}, "no keyword 'retrys'"),
        ({"on_unobserved": "raise"}, '"fail", "warn" or "ignore"'),
        ({"fail_on_degraded": 0.5}, "True or False"),
        ({"fail_on_degraded": True, "fallback": lambda: 1}, "Drop one of them"),
    ],
)
def test_contradictory_options_are_refused_at_decoration_with_advice(options, advice):
    with pytest.raises(PolicyError, match=advice):
        resilient_flow(**options)(lambda: None)


def test_stacking_on_a_prefect_flow_is_refused():
    with pytest.raises(PolicyError, match="replace its @flow"):
        resilient_flow(flow(lambda: None))


def test_prefects_setting_for_retries_does_not_multiply_ours():
    with temporary_settings({PREFECT_FLOW_DEFAULT_RETRIES: 2}):
        assert resilient_flow(retry=2)(lambda: None).retries == 0
        assert resilient_flow(deadline=2)(lambda: None).retries == 2
