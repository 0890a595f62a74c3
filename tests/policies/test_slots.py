"""The state machine of a bulkhead: slots, places in the queue, and when they end."""

import pytest

from resilient_tasks.policies.bulkhead.machine import KEPT, Holder, Slots

LEASE, PLACE = 30.0, 5.0


def slots(*held, queue=()):
    """Return slots with holders of one slot each, until 100, and with tickets until 100."""
    made = Slots()
    for name in held:
        made.hold(name, Holder(1, 100.0))
    made.queue.update(dict.fromkeys(queue, 100.0))
    return made


def test_a_slot_and_a_place_end_when_their_time_is_over():
    made = slots("a", queue=["t"]).expire(99.9, LEASE, PLACE)
    assert (list(made.held), list(made.queue)) == (["a"], ["t"])
    made.expire(100.0, LEASE, PLACE)
    assert (list(made.held), list(made.queue)) == ([], [])


def test_times_of_a_clock_that_ran_fast_end_as_if_they_began_now():
    made = slots("a", queue=["t"]).expire(10.0, LEASE, PLACE)
    assert (made.held["a"].until, made.queue["t"]) == (40.0, 15.0)


def test_times_that_are_right_stay():
    made = slots("a", queue=["t"]).expire(96.0, LEASE, PLACE)
    assert (made.held["a"].until, made.queue["t"]) == (100.0, 100.0)


@pytest.mark.parametrize(
    ("idle", "held", "taken_over"),
    [(0, 2, []), (1, 1, []), (1, 2, ["i0"]), (2, 1, ["i0"]), (3, 0, ["i0"])],
)
def test_a_call_takes_over_as_many_idle_slots_as_it_needs(idle, held, taken_over):
    names = [f"i{number}{KEPT}" for number in range(idle)]
    made = slots(*names, *(f"h{number}" for number in range(held)))
    assert made.request("t", 3, 0, 0.0, PLACE, idle=names) == "taken"
    assert [name for name in names if name not in made.held] == [f"{name}{KEPT}" for name in taken_over]


def test_an_idle_slot_that_is_no_longer_held_gives_no_slot():
    made = slots("a", "b")
    assert made.request("t", 2, 0, 0.0, PLACE, idle=[f"gone{KEPT}"]) == "full"


def test_a_place_in_the_queue_is_renewed_when_half_of_its_time_is_over():
    made = slots("a")
    for now, until in ((0.0, 5.0), (2.0, 5.0), (2.5, 7.5), (4.0, 7.5)):
        assert made.request("t", 1, 1, now, PLACE) == "queued"
        assert made.queue["t"] == until


def test_the_queue_is_served_in_order():
    made = slots("a")
    assert [made.request(ticket, 1, 2, 0.0, PLACE) for ticket in "tuv"] == ["queued", "queued", "full"]
    del made.held["a"]
    assert made.request("u", 1, 2, 0.0, PLACE) == "queued"
    assert made.request("t", 1, 2, 0.0, PLACE) == "taken"
    assert made.request("u", 1, 2, 0.0, PLACE) == "taken"
    assert not made.queue


def test_a_holder_is_the_only_one_while_no_other_holds_or_waits():
    assert Slots().only is None
    made = slots("a")
    only = made.held["a"]
    assert made.only is only
    made.hold("b", Holder(1, 50.0))
    assert made.only is None
    made.expire(60.0, LEASE, PLACE)
    assert made.only is only
    made.request("t", 1, 1, 60.0, PLACE)
    assert made.only is None
    assert made.remove("t").only is only


def test_a_state_is_written_if_it_holds_something_or_did():
    assert Slots().to_store() is None
    made = slots("a")
    assert made.to_store() is made
    del made.held["a"]
    assert made.to_store() is made
