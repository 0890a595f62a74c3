"""The arithmetic of the worst case: what each method of a bound adds to attempts, seconds and steps."""

from itertools import islice

import pytest

from resilient_tasks.core.bounds import MOST_STEPS, NEVER, Bound, Ends, Span, Step, Waits, of_function

UNLIMITED = "the function has no timeout= and no deadline="
WAITS = Waits(((1, 2), (2, 4)), (3, 8))


def five():
    """Return the bound of an attempt of at most 5 s."""
    return of_function(60.0).interrupted(5)


def attempt(seconds, beside=0.0, number=1):
    text = "attempt" if number == 1 else f"attempt and {number - 1} beside it"
    return Step("attempt", seconds, text, beside, number)


def wait(seconds):
    return Step("wait", seconds, "wait")


def slot(seconds):
    return Step("queue", seconds, "a slot")


def stand_in(seconds):
    return Step("fallback", seconds, "a stand-in")


FOUR_TIMES = (attempt(5), wait(2), attempt(5), wait(4), attempt(5), wait(8), attempt(5))


@pytest.mark.parametrize(
    ("make", "attempts", "total", "starts", "steps"),
    [
        (lambda: of_function(60.0), 1, Span(0, (UNLIMITED,)), [0], (attempt(NEVER),)),
        (five, 1, Span(5), [0], (attempt(5),)),
        (lambda: five().within(3), 1, Span(3), [0], (attempt(3),)),
        (lambda: five().within(9), 1, Span(5), [0], (attempt(5),)),
        (lambda: five().within(NEVER), 1, Span(5), [0], (attempt(5),)),
        (lambda: five().never_interrupted("it blocks"), 1, Span(5, ("it blocks",)), [0], (attempt(5),)),
        (lambda: five().never_interrupted("it blocks").within(3), 1, Span(3, ("it blocks",)), [0], (attempt(3),)),
        (lambda: five().after(4, "a slot"), 1, Span(9), [0], (slot(4), attempt(5))),
        (lambda: five().after(4, "a slot").within(6), 1, Span(6), [0], (slot(4), attempt(2))),
        (lambda: five().after(0, "a slot"), 1, Span(5), [0], (attempt(5),)),
        (
            lambda: five().after(NEVER, "a slot"),
            1,
            Span(5, ("the wait for a slot has no limit",)),
            [0],
            (slot(NEVER), attempt(5)),
        ),
        (lambda: five().then(2, "a stand-in"), 1, Span(7), [0], (attempt(5), stand_in(2))),
        (lambda: five().then(2, "a stand-in").within(3), 1, Span(5), [0], (attempt(3),)),
        (
            lambda: five().then(None, "a stand-in"),
            1,
            Span(5, ("a stand-in has no timeout",)),
            [0],
            (attempt(5), stand_in(NEVER)),
        ),
        (lambda: five().unknown("no word"), 1, Span(5, ("no word",)), [0], (attempt(5),)),
        (lambda: five().unknown("no word", 3), 3, Span(15, ("no word",)), [0, 0, 0], (attempt(5),)),
        (lambda: five().unknown("no word", 3).within(4), 3, Span(4, ("no word",)), [0, 0, 0], (attempt(4),)),
        (lambda: five().repeated(4, WAITS, asks=False), 4, Span(34), [0, 1, 3, 6], FOUR_TIMES),
        (lambda: five().repeated(4, WAITS).within(3.5), 3, Span(3.5), [0, 1, 3], (attempt(3.5),)),
        (lambda: five().repeated(9, WAITS, ends=Ends(before=7), asks=False), 4, Span(12), [0, 1, 3, 6], FOUR_TIMES),
        (
            lambda: five().repeated(9, WAITS, ends=Ends(after=7), asks=False),
            5,
            Span(20),
            [0, 1, 3, 6, 9],
            (*FOUR_TIMES, wait(8), attempt(5)),
        ),
        (
            lambda: five().repeated(NEVER, WAITS, asks=False).within(12),
            5,
            Span(12),
            [0, 1, 3, 6, 9],
            (attempt(5), wait(2), attempt(5)),
        ),
        (lambda: five().beside(3, 2), 3, Span(9), [0, 2, 4], (attempt(9, 2, 3),)),
        (lambda: five().beside(3, 5), 3, Span(15), [0, 5, 10], (attempt(15, 5, 3),)),
        (lambda: five().beside(3, 6), 1, Span(5), [0], (attempt(5),)),
        (lambda: five().beside(3, 2).within(3), 2, Span(3), [0, 2], (attempt(3, 2, 2),)),
        (lambda: five().beside(3, 2).within(2), 1, Span(2), [0], (attempt(2),)),
        (lambda: five().after(4, "a slot").beside(3, 2), 3, Span(21), [0, 2, 4], (slot(4), attempt(17, 2, 3))),
        (
            lambda: five().after(1, "a slot").after(4, "a slot").beside(2, 2),
            2,
            Span(17),
            [0, 2],
            (attempt(17, 2, 2),),
        ),
    ],
)
def test_a_bound_gives_attempts_seconds_and_steps(make, attempts, total, starts, steps):
    bound = make()
    assert bound.attempts == attempts
    assert bound.total == total
    assert list(islice(bound.starts(), 10)) == starts
    assert bound.steps == steps


@pytest.mark.parametrize(
    ("make", "queue", "beyond", "busy"),
    [
        (lambda: of_function(60.0), Span(), Span(), NEVER),
        (five, Span(), Span(), 5),
        (lambda: five().within(3), Span(), Span(), 3),
        (lambda: five().never_interrupted("it blocks"), Span(), Span(0, ("it blocks",)), 5),
        (lambda: five().never_interrupted("it blocks").interrupted(2), Span(), Span(), 2),
        (lambda: five().after(4, "a slot"), Span(4), Span(), 5),
        (lambda: five().after(4, "a slot").within(3), Span(3), Span(), 3),
        (lambda: five().then(2, "a stand-in"), Span(), Span(2), 5),
        (lambda: five().then(None, "a stand-in"), Span(), Span(0, ("a stand-in has no timeout",)), 5),
        (lambda: five().unknown("no word"), Span(), Span(0, ("no word",)), 5),
        (lambda: five().repeated(2, WAITS, asks=False), Span(), Span(), 12),
        (lambda: five().after(4, "a slot").repeated(2, WAITS, asks=False), Span(20), Span(), 20),
    ],
)
def test_a_bound_gives_the_time_before_and_after_the_work(make, queue, beyond, busy):
    bound = make()
    assert (bound.queue, bound.beyond, bound.busy) == (queue, beyond, busy)


def test_a_wait_that_a_service_asks_for_counts_in_a_loop_that_keeps_it():
    assert five().repeated(3, WAITS).total == Span(3 * 5 + 2 * 60)
    assert five().repeated(3, WAITS, asks=False).total == Span(3 * 5 + 2 + 4)


def test_an_unlimited_loop_says_so_and_keeps_few_steps():
    bound = five().repeated(NEVER, WAITS, asks=False)
    assert bound.attempts == NEVER
    assert bound.total.why == ("the number of attempts is unlimited",)
    assert len(bound.steps) == MOST_STEPS
    assert bound.steps[-1] == Step("more", NEVER, "more attempts", number=NEVER)


def test_the_steps_that_are_not_kept_are_counted():
    bound = five().repeated(30, Waits((), (1, 1)), asks=False)
    made = sum(step.number for step in bound.steps if step.kind != "wait")
    assert made == bound.attempts == 30
    assert bound.total == Span(30 * 5 + 29)


def test_waits_without_a_limit_have_none_in_a_loop():
    bound = five().repeated(2, Waits(later=(0, 0), why=("the wait is a function",)), asks=False)
    assert bound.total == Span(10, ("the wait is a function",))
    assert bound.steps[1] == wait(NEVER)


@pytest.mark.parametrize(
    ("attempts", "limit", "rounds"),
    [(9, 0.5, 1), (9, 1, 1), (9, 1.5, 2), (9, 3, 2), (9, 3.5, 3), (9, 6, 3), (9, 6.5, 4), (9, 9.5, 5), (2, 99, 2)],
)
def test_as_many_rounds_begin_before_a_limit_as_the_shortest_waits_allow(attempts, limit, rounds):
    assert WAITS.rounds(attempts, limit) == rounds


def test_rounds_without_waits_are_limited_by_the_attempts_alone():
    assert Waits().rounds(7, 1) == 7
    assert WAITS.rounds(NEVER, NEVER) == NEVER


@pytest.mark.parametrize(("number", "longest"), [(0, 0), (1, 0), (2, 2), (3, 4), (4, 8), (5, 8)])
def test_the_wait_before_an_attempt_is_the_one_with_its_number(number, longest):
    assert WAITS.before(number, 0) == Span(longest)
    assert WAITS.before(number, 60) == Span(60 if longest else 0)


def test_a_span_adds_up_with_each_reason_once():
    one, two = Span(1, ("no limit",)), Span(2, ("no limit", "nor here"))
    assert one.plus(two) == Span(3, ("no limit", "nor here"))
    assert one.seconds == NEVER
    assert Span(2).times(3) == Span(6)
    assert one.times(0) == Span(0)
    assert one.times(NEVER) == one


def test_a_span_that_is_capped_takes_what_goes_on_in_addition():
    assert Span(9).capped(5, Span(2)) == Span(7)
    assert Span(6).capped(5, Span(2)) == Span(6)
    assert Span(6).capped(5, Span(0, ("it blocks",))) == Span(6)
    assert Span(0, ("no limit",)).capped(5, Span(2)) == Span(7)


def test_a_loop_in_a_loop_starts_as_early_as_any_inner_attempt_can_end():
    inner = five().repeated(2, Waits(later=(1, 1)), asks=False)
    outer = inner.repeated(2, Waits(later=(10, 10)), asks=False)
    assert outer.attempts == 4
    assert list(outer.starts()) == [0, 1, 11, 12]  # a round of one attempt, then one of two; or two of two


def test_a_bound_of_no_attempt_has_none_before_a_deadline():
    assert Bound(attempts=0).within(5).attempts == 0
