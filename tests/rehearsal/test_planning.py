"""The faults of each run, their names, and the smallest part of a plan that still fails."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_tasks.rehearsal.faults import FAMILIES, Fault, families, fault, plan, plan_of, tokens_of
from resilient_tasks.rehearsal.planning import plans
from resilient_tasks.rehearsal.shrinking import smallest

CALLS = [("fetch", 1), ("fetch", 2), ("store", 1)]
FORMS = [form.split(":") for forms in FAMILIES.values() for form in forms]
FAULTS = st.builds(
    lambda task, call, form, always: Fault(task, call, *form, always),
    st.sampled_from(["fetch", "test_a.<locals>.fetch", "a:b"]),
    st.integers(0, 99),
    st.sampled_from(FORMS),
    st.booleans(),
)


@given(st.lists(FAULTS).map(plan))
def test_a_plan_is_made_again_from_its_tokens(faults):
    assert plan_of(tokens_of(faults)) == faults


@pytest.mark.parametrize(
    "token", ["fetch", "fetch:1:after", "fetch:x:after:503", "fetch:1:after:null", "fetch:1:data:503"]
)
def test_a_token_that_names_no_fault_gets_an_error_that_says_what_to_write(token):
    with pytest.raises(ValueError, match="such as fetch:1:after:503"):
        fault(token)


def test_a_family_that_does_not_exist_gets_an_error_with_those_that_do():
    with pytest.raises(ValueError, match="'apis' is no family of faults: choose from api, timeouts"):
        families(["apis"])


def test_families_are_put_in_their_order():
    assert families(["crash", " api", "crash"]) == ("api", "crash")


@given(st.integers(1, 120), st.integers(), st.sets(st.sampled_from([*FAMILIES]), min_size=1))
def test_the_same_seed_gives_the_same_plans_each_once(runs, seed, chosen):
    made = plans(CALLS, families(chosen), runs, seed)
    assert made == plans(CALLS, families(chosen), runs, seed)
    assert len(set(made)) == len(made) <= runs
    assert all(each.family in chosen or each.kind == "refused" for faults in made for each in faults)


@given(st.permutations(CALLS))
def test_the_order_in_which_concurrent_tasks_begin_changes_no_plan(calls):
    assert plans(calls, [*FAMILIES], 20, 7) == plans(CALLS, [*FAMILIES], 20, 7)


def test_another_seed_gives_other_plans():
    assert plans(CALLS, [*FAMILIES], 20, 1) != plans(CALLS, [*FAMILIES], 20, 2)


def test_as_many_runs_as_tasks_and_families_touch_each_of_them():
    touched = {(each.task, each.family) for faults in plans(CALLS, [*FAMILIES], 10, 7) for each in faults}
    assert {(task, family) for task in ("fetch", "store") for family in FAMILIES if family != "alerts"} <= touched


def test_many_runs_have_each_kind_of_fault_in_each_task_and_combinations():
    made = plans(CALLS, [*FAMILIES], 200, 7)
    assert {(each.task, each.form) for faults in made if len(faults) == 1 for each in faults} == {
        (task, f"{where}:{kind}") for task in ("fetch", "store") for where, kind in FORMS if where != "alerts"
    }
    assert any(len({each.task for each in faults}) > 1 for faults in made)


def test_a_flow_without_tasks_has_no_plans():
    assert plans([], [*FAMILIES], 5, 7) == []


@given(st.sets(st.integers(0, 5), min_size=1), st.data())
def test_the_smallest_part_fails_and_no_part_with_one_fault_less_does(numbers, data):
    faults = plan(Fault("fetch", number, "before", "503") for number in numbers)
    causes = data.draw(st.lists(st.sets(st.sampled_from(faults), min_size=1), min_size=1))

    def fails(part):
        return any(cause <= set(part) for cause in causes)

    found = smallest(faults, fails)
    assert fails(found)
    assert not any(fails(tuple(other for other in found if other != each)) for each in found)


def test_as_many_runs_as_tasks_touch_each_task_and_as_many_families():
    tasks = ["index", "page", "planes", "train", "record"]
    made = [faults[-1] for faults in plans([(task, 1) for task in tasks], [*FAMILIES], len(tasks), 7)]
    assert sorted(each.task for each in made) == sorted(tasks)
    first = [next(iter(faults)) for faults in plans([(task, 1) for task in tasks], [*FAMILIES], len(tasks), 7)]
    assert {each.family for each in first} == {*FAMILIES}
