"""RetryBudget: a share of the calls, and a floor; when it is used up, only retries stop."""

import cloudpickle
import pytest

from resilient_tasks import Failed, Ok, Pipeline, PolicyError, Retry, RetryBudget, explain, resilient
from resilient_tasks.policies.retry.budget import RetryBudgetState
from resilient_tasks.policies.retry.machine import BudgetLimit
from resilient_tasks.state.states import states


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


class Service:
    def __init__(self):
        self.down, self.calls = True, 0

    def __call__(self):
        self.calls += 1
        if self.down:
            raise ConnectionError("refused")


@pytest.fixture
def service():
    return Service()


def retrying(drive, service, budget, attempts=3):
    return drive(service.__call__, retry=Retry(attempts=attempts, wait=1, budget=budget))


def test_with_few_calls_the_floor_allows_retries(drive, service):
    call = retrying(drive, service, RetryBudget("api", share=0, floor=3, per=60))
    notes = [call.outcome().error.__notes__[0] for _ in range(3)]
    assert service.calls == 3 + 2 + 1
    assert notes[0].endswith("no attempts left")
    assert notes[1].endswith("the retry budget of api is used up (3 retries of 2 calls in 60 s)")
    assert "gave up after attempt 1" in notes[2]


def test_a_share_of_the_calls_may_be_retried(drive, service):
    service.down = False
    call = retrying(drive, service, RetryBudget("api", share=0.1, floor=0, per=60), attempts=2)
    for _ in range(100):
        call()
    service.down, service.calls = True, 0
    for _ in range(20):
        call.outcome()
    assert service.calls == 20 + 12  # a tenth of the 120 calls, those that fail included


@pytest.mark.usefixtures("each_call")
def test_an_interrupted_call_is_a_call_of_which_a_share_may_be_retried(drive):
    answers = [KeyboardInterrupt(), ConnectionError(), ConnectionError()]

    def fetch():
        if answers:
            raise answers.pop(0)

    call = drive(fetch, retry=Retry(attempts=3, wait=1, budget=RetryBudget("api", share=1, floor=0, per=60)))
    with pytest.raises(KeyboardInterrupt):
        call()
    assert call() is None  # two retries of two calls


def test_first_attempts_continue_when_it_is_used_up(drive, service):
    call = retrying(drive, service, RetryBudget("api", share=0, floor=0))
    for _ in range(50):
        call.outcome()
    assert service.calls == 50
    service.down = False
    assert call() is None


def test_it_fills_again_as_time_passes(drive, service, clock):
    call = retrying(drive, service, RetryBudget("api", share=0, floor=2, per=60), attempts=9)
    call.outcome()
    assert service.calls == 3
    clock.advance(60)
    call.outcome()
    assert service.calls == 6


def test_retries_that_name_it_share_it(drive, service):
    other = Service()
    retrying(drive, service, RetryBudget("api", share=0, floor=2, per=60)).outcome()
    retrying(drive, other, RetryBudget("api", share=0, floor=2, per=60)).outcome()
    assert (service.calls, other.calls) == (3, 1)
    retrying(drive, other, RetryBudget("another", share=0, floor=2, per=60)).outcome()
    assert other.calls == 1 + 3


def test_without_a_name_each_flow_run_has_its_own(drive, service, in_run):
    call = retrying(drive, service, RetryBudget(share=0, floor=2, per=60))
    with in_run(flow_run_id="first"):
        call.outcome(), call.outcome()
        assert service.calls == 3 + 1
    with in_run(flow_run_id="second"):
        assert "this flow run" not in call.outcome().error.__notes__[0]
        assert service.calls == 4 + 3
        assert "the retry budget of this flow run is used up" in call.outcome().error.__notes__[0]


def test_an_attempt_that_is_not_made_uses_nothing(drive, service):
    budget = RetryBudget("api", share=0, floor=1)

    def bug():
        raise KeyError

    drive(bug, retry=Retry(budget=budget)).outcome()
    drive(service.__call__, retry=Retry(wait=60, budget=budget), deadline=5).outcome()
    drive(service.__call__, retry=Retry(attempts=1, budget=budget)).outcome()
    service.calls = 0
    retrying(drive, service, budget).outcome()
    assert service.calls == 2


def test_it_limits_retries_of_rejected_results(drive):
    call = drive(
        lambda: None, retry=Retry(on_result=lambda _: True, wait=0, budget=RetryBudget("api", share=0, floor=1))
    )
    assert "used up" in call.outcome().error.__notes__[0]


def test_a_rejected_result_is_retried_within_the_budget(drive):
    answers = [None, "answer"]
    retry = Retry(on_result=lambda answer: answer is None, wait=0, budget=RetryBudget("api"))
    assert drive(lambda: answers.pop(0), retry=retry)() == "answer"


@pytest.mark.parametrize("state", [b"garbage", b"[]", b"{}", b"null", b'{"held":[],"queue":{}}'])
def test_an_unreadable_state_is_replaced(state):
    states().update("budget/api", lambda *_: (state, None))
    assert isinstance(Pipeline(Retry(attempts=2, wait=0, budget=RetryBudget("api"))).outcome(int, "7"), Ok)


def test_it_crosses_to_another_process_as_a_value_and_is_explained():
    retry = cloudpickle.loads(cloudpickle.dumps(Retry(budget=RetryBudget("api", share=0.2, floor=5, per=10))))
    assert isinstance(Pipeline(retry).outcome(int, "x"), Failed)
    assert "budget of api: 20% of calls and 5 more in 10 s" in explain(resilient(retry=retry)(print))
    assert "budget of this flow run" in explain(resilient(retry=Retry(budget=RetryBudget()))(print))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"name": ""}, "name of shared state"),
        ({"share": 10}, "is a fraction"),
        ({"floor": -1}, "number of retries, 0 or more"),
        ({"floor": 0.5}, "number of retries, 0 or more"),
        ({"per": 0}, "seconds above 0"),
    ],
)
def test_impossible_arguments_are_refused(given, complaint):
    with pytest.raises(PolicyError, match=complaint):
        RetryBudget(**{"name": "api", **given})


def test_a_value_of_another_type_is_refused():
    with pytest.raises(PolicyError, match=r'takes a RetryBudget, not 0\.1: write RetryBudget\("flights-api"\)'):
        Retry(budget=0.1)


class Shared:
    """A store of one state, which counts the steps."""

    def __init__(self, clock):
        self.now, self.state, self.steps = clock.now, None, 0

    def step(self, key, decode, change, *, ttl):
        assert ttl == 120
        self.steps += 1
        self.state, answer = change(decode(None, self.now()) if self.state is None else self.state, self.now())
        return answer


LIMIT = BudgetLimit(share=1.0, floor=0, per=60.0)


def test_calls_are_stored_from_time_to_time_and_before_a_retry(clock):
    clock.advance(100)
    store = Shared(clock)
    view = RetryBudgetState(store, "api")
    for _ in range(5):
        view.record_call(LIMIT)
        clock.advance(0.04)
    assert store.steps == 1
    assert view.try_acquire(LIMIT) == (True, 0, 5)
    clock.advance(0.1)
    view.record_call(LIMIT)
    assert store.steps == 3


def test_calls_that_are_not_stored_yet_count_when_they_were_made(clock):
    clock.advance(100)
    view = RetryBudgetState(Shared(clock), "api")
    view.record_call(LIMIT), view.record_call(LIMIT)
    clock.advance(61)
    assert view.try_acquire(LIMIT) == (False, 0, 0)


def test_what_a_process_forgets_is_stored_before(clock):
    store = Shared(clock)
    view = RetryBudgetState(store, "api")
    view.let_go()
    assert store.steps == 0
    for _ in range(3):
        view.record_call(LIMIT)
    view.let_go()
    assert RetryBudgetState(store, "api").try_acquire(LIMIT) == (True, 0, 3)
    view.let_go()
    assert store.steps == 3
