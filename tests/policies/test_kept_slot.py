"""A slot that a process keeps for its next call: when it may be reused, and when another process may take it over."""

from types import SimpleNamespace

import pytest

from resilient_tasks.policies.bulkhead import kept_slot
from resilient_tasks.policies.bulkhead.kept_slot import MAX_REUSE, KeptSlot, idle_slots
from resilient_tasks.policies.bulkhead.machine import KEPT, Holder, Slots

LEASE, HOLDER = 30.0, "abcdef0123456789-holder"


class Claims:
    inode = 0x2A

    def __init__(self):
        self.taken, self.of_others, self.asked = set(), set(), 0

    def take(self, number):
        self.asked += 1
        if number in self.taken | self.of_others:
            return False
        self.taken.add(number)
        return True

    def release(self, number):
        self.taken.discard(number)


class Store:
    """Stands for the states: a version that changes with each write, a state, a time and claims."""

    def __init__(self):
        self.own, self.written, self.time, self.slots, self.looks = Claims(), 1, 1000.0, Slots(), 0

    def claims(self):
        return self.own

    def version(self):
        return self.written

    def now(self):
        return self.time

    def look(self, key):
        self.looks += 1
        assert key == "bulkhead/b"
        return self.slots.encode()


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def times(monkeypatch):
    now = SimpleNamespace(seconds=50.0)
    monkeypatch.setattr(kept_slot, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.fixture
def kept(store, times):
    """A slot that was used once and is idle, in a bulkhead of two."""
    kept = KeptSlot(store, HOLDER, LEASE)
    assert kept.claim()
    kept.hold(store.slots, store.time)
    kept.start(2, others_wait=False)
    assert kept.release()
    return kept


def reuse(kept, limit=2):
    renewed = []
    answer = kept.reuse("bulkhead/b", limit, lambda: renewed.append(1))
    assert renewed == [1] * answer
    return answer


def test_an_idle_slot_is_reused_without_a_look_at_the_store(kept, store):
    assert (kept.state, kept.is_needed, store.own.taken) == ("idle", False, set())
    assert reuse(kept)
    assert (kept.state, kept.is_needed, len(store.own.taken)) == ("used", True, 1)
    assert not reuse(kept)  # it is in use
    assert not kept.claim()
    assert kept.release()
    assert not kept.release()
    assert (kept.state, store.own.taken, store.looks) == ("idle", set(), 0)
    assert not reuse(kept, limit=3)  # of a policy with another limit
    assert kept.state == "idle"


@pytest.mark.parametrize("what", ["claims", "version", "the claim"])
def test_without_claims_no_slot_is_kept(store, what):
    kept = KeptSlot(store, HOLDER, LEASE)
    if what == "the claim":
        store.own.of_others.add(int(HOLDER[:15], 16))
    else:
        setattr(store, what, lambda: None)
    for _ in range(2):
        assert kept.claim() is False
        assert (kept.state, kept.is_needed) == ("none", False)


@pytest.mark.parametrize(
    ("change", "reused", "looks"),
    [
        (lambda store, times, kept: None, True, 0),
        (lambda store, times, kept: vars(store).update(time=1009.9), True, 0),
        (lambda store, times, kept: vars(store).update(time=1010.0 + LEASE), False, 0),  # it has to be renewed
        (lambda store, times, kept: vars(store).update(written=2), True, 1),
        (lambda store, times, kept: kept.look_again(), True, 1),
        (lambda store, times, kept: vars(store).update(written=None), False, 0),
        (lambda store, times, kept: vars(store).update(written=2, slots=Slots()), False, 1),
        (lambda store, times, kept: (store.slots.hold("x", Holder(2, 1e9)), kept.look_again()), False, 1),
        (lambda store, times, kept: (store.slots.hold("x", Holder(1, 1e9)), kept.look_again()), True, 1),
        (lambda store, times, kept: vars(times).update(seconds=50.0 + MAX_REUSE), True, 0),
        (lambda store, times, kept: (vars(times).update(seconds=50.1), setattr(kept, "others_wait", True)), False, 0),
        (lambda store, times, kept: setattr(kept, "others_wait", True), True, 0),
        (lambda store, times, kept: (vars(times).update(seconds=50.1), queued(store, kept)), False, 1),
        (lambda store, times, kept: queued(store, kept), True, 1),
    ],
)
def test_a_slot_is_reused_while_it_is_in_the_store_and_no_other_waits_long(kept, times, change, reused, looks):
    store = kept._states
    change(store, times, kept)
    assert reuse(kept) is reused
    assert store.looks == looks
    assert kept.state == ("used" if reused else "none")
    assert len(store.own.taken) == int(reused)


def queued(store, kept):
    store.slots.queue["ticket"] = 1e9
    kept.look_again()


def test_a_slot_whose_claim_another_process_has_is_given_up(kept, store):
    store.own.of_others.add(int(HOLDER[:15], 16))
    assert not reuse(kept)
    assert kept.state == "none"


def test_the_next_write_renews_a_slot_in_use_and_removes_one_that_was_given_up(kept, store):
    name, earlier = kept.name, f"{HOLDER}@1{KEPT}"
    assert name == f"{HOLDER}@2a{KEPT}"
    kept.update(store.slots, 1005.0)
    assert store.slots.held[name].until == 1000.0 + LEASE  # idle
    reuse(kept)
    kept.update(store.slots, 1005.0)
    assert store.slots.held[name].until == 1005.0 + LEASE
    store.slots.hold(earlier, Holder(1, 1e9)).hold(f"other@2a{KEPT}", Holder(1, 1e9)).hold(HOLDER, Holder(1, 1e9))
    kept.drop()
    assert (kept.state, store.own.taken) == ("none", set())
    kept.update(store.slots, 1006.0)
    assert sorted(store.slots.held) == sorted([f"other@2a{KEPT}", HOLDER])


class Stopped(BaseException):
    """An interrupt."""


def test_a_slot_is_given_up_if_reusing_it_is_interrupted(kept, store):
    def interrupted():
        raise Stopped

    with pytest.raises(Stopped):
        kept.reuse("bulkhead/b", 2, interrupted)
    assert (kept.state, store.own.taken) == ("none", set())


def test_a_slot_stays_in_use_if_its_release_is_interrupted(kept, store, monkeypatch):
    reuse(kept)
    with monkeypatch.context() as patch:
        patch.setattr(store.own, "release", lambda _: (_ for _ in ()).throw(Stopped))
        with pytest.raises(Stopped):
            kept.release()
    assert kept.state == "used"
    assert kept.release()


@pytest.mark.parametrize(
    ("missing", "claimed", "asked"),
    [(1, [1], 1), (2, [1, 2], 2), (3, [1, 2, 3], 3), (4, [], 3), (5, [], 0)],
)
def test_as_many_idle_slots_are_claimed_as_are_missing_or_none(missing, claimed, asked):
    names = {n: f"00000000000000{n}-h@2a{KEPT}" for n in (1, 2, 3)}
    own, elsewhere = f"0000000000000ff@2a{KEPT}", f"0000000000000fe@99{KEPT}"
    slots, claims = Slots(), Claims()
    for name in (own, *names.values(), "used", *([elsewhere] if missing < 5 else [])):
        slots.hold(name, Holder(1, 1e9))
    with idle_slots(claims, slots, missing, own) as idle:
        assert idle == [names[n] for n in claimed]
        assert claims.taken >= set(claimed)
    assert (claims.taken, claims.asked) == (set(), asked)


def test_without_claims_no_idle_slot_is_claimed():
    slots = Slots().hold(f"000000000000001@2a{KEPT}", Holder(1, 1e9))
    with idle_slots(None, slots, 1, "") as idle:
        assert idle == []


def test_an_idle_slot_in_use_is_not_claimed():
    slots, claims = Slots(), Claims()
    for number in (1, 2):
        slots.hold(f"00000000000000{number}-h@2a{KEPT}", Holder(1, 1e9))
    claims.of_others.add(1)
    with idle_slots(claims, slots, 1, "") as idle:
        assert idle == [f"000000000000002-h@2a{KEPT}"]
    assert claims.taken == set()
