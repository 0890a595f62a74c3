"""Which call of a task is which, in a run under faults."""

import pytest

from resilient_tasks.rehearsal.injection import Stage
from resilient_tasks.rehearsal.values import digest


@pytest.fixture
def stage(tmp_path):
    known = [("fetch", digest({"page": page})) for page in (1, 2, 3)]
    return Stage(str(tmp_path / "trace"), (), known)


def numbers(stage, *pages):
    return [stage.call_of("fetch", f"run-{at}", {"page": page}, None) for at, page in enumerate(pages)]


def test_a_call_has_the_number_of_the_call_with_its_arguments_in_whatever_order_they_come(stage):
    assert numbers(stage, 3, 1, 2) == [3, 1, 2]


def test_a_call_with_arguments_that_are_new_in_each_run_has_the_first_number_that_is_left(stage):
    assert numbers(stage, "a", 2, "b", "c") == [1, 2, 3, 4]


def test_a_call_whose_number_is_taken_has_another(stage):
    assert numbers(stage, "a", 1, 1) == [1, 2, 3]


def test_the_attempts_of_a_task_run_are_one_call(stage):
    assert [stage.call_of("fetch", "run", {"page": 2}, None) for _ in range(2)] == [2, 2]
