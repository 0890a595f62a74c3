"""The state machine of incidents, by example and against a plain account of the messages."""

import itertools

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from resilient_tasks.alerts.delivery import GAP, LONGEST_RETRY_AFTER, ChannelBackoff
from resilient_tasks.alerts.incident import RETENTION, DeliveryId, Failure, Incidents, Source

COOLDOWN = 300.0
FREE = {"slack": 0.0, "mail": 0.0}


def failure(fingerprint="f", channels=("slack",), *, fallback="", recover_after=1, flow="", number=1, error="down"):
    facts = {"error_type": "ConnectionError", "error": error}
    return Failure(
        fingerprint,
        channels,
        fallback,
        COOLDOWN,
        recover_after,
        (flow,),
        lambda: facts,
        lambda: {"error": error},
        number,
    )


class Operation:
    """An operation's incidents, as they come back from the store each time."""

    def __init__(self):
        self.state = None

    def __call__(self, what, *given, **named):
        incidents = Incidents.decode(self.state)
        result = getattr(incidents, what)(*given, **named)
        self.state = incidents.encode()
        return result

    @property
    def all(self):
        return Incidents.decode(self.state).all

    @property
    def deliveries(self):
        return [(delivery.occasion, delivery.count, delivery.total) for one in self.all for delivery in one.deliveries]

    def sent(self, channel="slack", now=0.0):
        """Deliver what is next for a channel."""
        found = self("lease", channel, now, now + 15)
        if found is None:
            return None
        incident, delivery = found
        assert self("mark_delivered", DeliveryId(incident.id, channel, delivery.number), {"ts": str(delivery.number)})
        return delivery.occasion, delivery.count, delivery.total

    def refused(self, incident, delivery, problem, due=0.0, *, channel="slack", now=0.0, **how):
        which = DeliveryId(incident.id, channel, delivery.number)
        self("mark_refused", which, problem, due, now=now, **{"dead": False, "use_fallback": False, **how})

    def look(self, now, *, silenced=False):
        self("write_due_messages", now, lambda _: silenced)


class TestMessages:
    def test_the_first_failure_is_reported_at_once_and_further_ones_in_one_digest(self):
        operation = Operation()
        for second in range(5):
            operation("record_failure", failure(), second)
        assert operation.deliveries == [("first", 1, 1)]
        assert operation.sent() == ("first", 1, 1)
        operation.look(COOLDOWN - 0.1)
        assert operation.deliveries == []
        operation.look(COOLDOWN)
        assert operation.deliveries == [("digest", 4, 5)]

    def test_a_failure_after_a_quiet_time_is_reported_at_once(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        operation("record_failure", failure(), COOLDOWN + 5)
        assert operation.deliveries == [("first", 1, 1), ("digest", 1, 2)]

    def test_a_due_digest_is_written_before_the_next_failure_is_counted(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        operation("record_failure", failure(), 1.0)
        operation("record_failure", failure(), COOLDOWN + 1)  # no digest was written in the meantime
        assert operation.deliveries[-1] == ("digest", 1, 2)
        operation.look(2 * COOLDOWN + 1)
        assert operation.deliveries[-1] == ("digest", 2, 3)  # the one that waits still takes in the other

    def test_a_recovery_reports_how_often_it_failed(self):
        operation = Operation()
        for second in range(3):
            operation("record_failure", failure(), second)
        assert operation("record_successes", 1, 10.0, 10.0)
        assert operation.deliveries == [("first", 1, 1), ("recovered", 3, 3)]
        assert not operation("record_successes", 1, 11.0, 11.0)

    def test_a_late_report_of_a_failure_before_the_end_does_not_reopen_the_incident(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        operation("record_successes", 1, 10.0, 10.0)
        operation("record_failure", failure(number=3), 11.0, at=9.0)
        assert operation.deliveries == [("first", 1, 1), ("recovered", 4, 4)]
        operation.sent()
        operation.sent()
        operation("record_failure", failure(number=2), 12.0, at=9.5)
        assert operation.deliveries == []
        operation.look(COOLDOWN)
        assert operation.deliveries == [("recovered", 6, 6)]

    def test_a_late_report_counts_at_the_time_of_the_failure(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        operation("record_failure", failure(), 100.0)
        operation("record_failure", failure(number=5), COOLDOWN + 1, at=COOLDOWN - 1)
        assert operation.deliveries == [("first", 1, 1), ("digest", 6, 7)]

    def test_a_repeated_report_counts_once(self):
        operation = Operation()
        operation("record_failure", failure(number=2), 0.0, source=Source("a", 1))
        operation("record_failure", failure(number=3), 1.0, source=Source("a", 2))
        for serial in (2, 1):
            assert operation("record_failure", failure(number=3), 2.0, source=Source("a", serial)).total == 5
        assert operation("record_failure", failure(number=3), 2.0, source=Source("b", 1)).total == 8

    def test_a_process_without_reports_is_forgotten_after_a_while(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0, source=Source("a", 1))
        operation("record_failure", failure(), 700.0, source=Source("b", 1))
        assert list(Incidents.decode(operation.state).seen) == ["b"]

    def test_an_incident_ends_only_after_consecutive_successes(self):
        operation = Operation()
        operation("record_failure", failure(recover_after=3), 0.0)
        operation("record_successes", 2, 1.0, 1.0)
        operation("record_failure", failure(recover_after=3), 2.0)
        operation("record_successes", 2, 3.0, 3.0)
        assert [occasion for occasion, *_ in operation.deliveries] == ["first"]
        operation("record_successes", 1, 4.0, 4.0)
        assert operation.deliveries[-1] == ("recovered", 2, 2)

    def test_a_success_before_the_last_failure_ends_nothing(self):
        operation = Operation()
        operation("record_failure", failure(), 5.0)
        operation("record_successes", 1, 4.0, 6.0)
        assert not operation.all[0].closed

    def test_one_success_ends_all_incidents_of_the_operation(self):
        operation = Operation()
        operation("record_failure", failure("a"), 0.0)
        operation("record_failure", failure("b"), 0.0)
        operation("record_successes", 1, 1.0, 1.0)
        assert sorted(occasion for occasion, *_ in operation.deliveries) == ["first", "first", "recovered", "recovered"]

    def test_a_flapping_operation_is_one_incident(self):
        operation = Operation()
        for second in range(0, 20, 2):
            operation("record_failure", failure(), second)
            operation("record_successes", 1, second + 1, second + 1)
        assert operation.deliveries == [("first", 1, 1), ("recovered", 1, 1)]
        operation.look(COOLDOWN)
        assert operation.deliveries[-1] == ("recovered", 10, 10)

    def test_a_failure_after_a_reported_recovery_is_a_relapse(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        operation("record_successes", 1, 1.0, 1.0)
        for second in (2.0, COOLDOWN + 3):
            operation("record_failure", failure(), second)
        operation("record_failure", failure(), 2 * COOLDOWN + 4)
        relapses = [(delivery.occasion, delivery.count, delivery.relapse) for delivery in operation.all[0].deliveries]
        assert relapses == [("first", 1, False), ("recovered", 1, False), ("digest", 2, True)]

    def test_after_the_cooldown_the_next_failure_begins_another_incident(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        operation("record_successes", 1, 1.0, 1.0)
        first = operation.all[0].id
        operation("record_failure", failure(), COOLDOWN + 1)
        assert operation.deliveries == [("first", 1, 1), ("recovered", 1, 1), ("first", 1, 1)]
        assert operation.all[1].id != first

    def test_every_channel_gets_messages_also_one_that_comes_later(self):
        operation = Operation()
        operation("record_failure", failure(channels=("slack",)), 0.0)
        operation("record_failure", failure(channels=("slack", "mail")), 1.0)
        operation.look(COOLDOWN)
        assert [delivery.channel for delivery in operation.all[0].deliveries] == ["slack", "slack", "mail"]

    def test_the_flows_are_collected_up_to_ten(self):
        operation = Operation()
        for number in range(30):
            operation("record_failure", failure(flow=f"flow {number % 15}"), float(number))
        assert operation.all[0].flows == [f"flow {number}" for number in range(10)]

    def test_too_many_kinds_of_failure_share_one_incident(self):
        operation = Operation()
        for number in range(100):
            operation("record_failure", failure(str(number)), 0.0)
        assert len(operation.all) == 41
        assert operation.all[-1].total == 60


class TestSilence:
    def test_silenced_failures_are_counted_and_reported_afterwards(self):
        operation = Operation()
        for second in range(3):
            operation("record_failure", failure(), second, silenced=True)
        operation.look(COOLDOWN, silenced=True)
        assert operation.deliveries == []
        operation.look(COOLDOWN + 1)
        assert operation.deliveries == [("first", 3, 3)]

    def test_an_incident_within_a_silence_is_never_reported(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0, silenced=True)
        operation("record_successes", 1, 1.0, 1.0)
        operation.look(COOLDOWN)
        assert operation.all == []


class TestDeliveries:
    def test_a_delivery_is_leased_by_one_process_and_by_another_after_its_death(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        assert operation("lease", "slack", 1.0, 16.0) is not None
        assert operation("lease", "slack", 15.9, 30.0) is None
        incident, delivery = operation("lease", "slack", 16.0, 31.0)
        assert (delivery.tries, incident.key(delivery)) == (2, f"{incident.id}-1")

    def test_a_reply_waits_for_the_message_that_it_replies_to(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        operation("record_successes", 1, 1.0, 1.0)
        incident, delivery = operation("lease", "slack", 1.0, 16.0)
        assert operation("lease", "slack", 1.0, 16.0) is None
        operation.refused(incident, delivery, "down", 60.0, now=1.0)
        assert operation("next_delivery", FREE, 1.0) == 60.0
        assert operation.sent(now=59.0) is None
        assert [operation.sent(now=60.0)[0], operation.sent(now=60.0)[0]] == ["first", "recovered"]

    def test_nothing_is_leased_for_a_channel_that_is_not_free(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        assert operation("ready_channels", {"slack": 5.0}, 4.0) == ()
        assert operation("next_delivery", {"slack": 5.0}, 0.0) == 5.0
        assert operation("next_delivery", {"mail": 5.0}, 0.0) is None

    def test_later_messages_know_the_thread_of_the_first(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        operation.sent()
        operation("record_successes", 1, 1.0, 1.0)
        incident, _ = operation("lease", "slack", 1.0, 2.0)
        assert incident.threads == {"slack": {"ts": "1"}}

    def test_a_digest_that_was_tried_stays_as_it_was(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        operation.sent()
        operation("record_failure", failure(), 1.0)
        operation.look(COOLDOWN)
        incident, delivery = operation("lease", "slack", COOLDOWN, COOLDOWN + 15)
        operation.refused(incident, delivery, "hung")
        operation("record_failure", failure(), COOLDOWN + 1)
        operation.look(2 * COOLDOWN)
        assert operation.deliveries == [("digest", 1, 2), ("digest", 1, 3)]

    def test_channels_with_a_ready_delivery_are_found_the_oldest_first(self):
        operation = Operation()
        operation("record_failure", failure("a", channels=("mail",)), 0.0)
        operation("record_failure", failure("b", channels=("slack", "mail")), 1.0)
        assert operation("ready_channels", FREE, 1.0) == ("mail", "slack")
        assert operation("ready_channels", {"slack": 0.0}, 1.0) == ("slack",)
        operation("lease", "slack", 1.0, 16.0)
        assert operation("ready_channels", FREE, 2.0) == ("mail",)

    def test_the_fallback_gets_the_same_message_with_the_same_key_and_all_later_ones(self):
        operation = Operation()
        operation("record_failure", failure(fallback="mail"), 0.0)
        operation("record_failure", failure(fallback="mail"), 1.0)
        operation.look(COOLDOWN)
        for _ in range(2):
            incident, delivery = operation("lease", "slack", COOLDOWN, COOLDOWN)
            operation.refused(incident, delivery, "no", use_fallback=True)
        assert operation.deliveries == [("first", 1, 1), ("digest", 1, 2)] * 2
        incident, copy = operation("lease", "mail", COOLDOWN, COOLDOWN)
        assert incident.key(copy) == incident.key(delivery)
        assert (copy.tries, copy.problem) == (1, "")
        operation.refused(incident, copy, "no", use_fallback=True, channel="mail")
        operation("record_successes", 1, COOLDOWN + 1, COOLDOWN + 1)
        messages = [(delivery.channel, delivery.occasion) for delivery in operation.all[0].deliveries]
        assert messages == [("slack", "first"), ("mail", "first"), ("slack", "recovered"), ("mail", "recovered")]

    def test_a_dead_delivery_is_kept_lets_others_pass_and_can_be_revived(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        operation("record_successes", 1, 1.0, 1.0)
        incident, delivery = operation("lease", "slack", 1.0, 16.0)
        operation.refused(incident, delivery, "too long", dead=True)
        assert operation.sent(now=1.0) == ("recovered", 1, 1)
        assert operation.deliveries == [("first", 1, 1)]
        operation("revive")
        assert operation.sent(now=1.0) == ("first", 1, 1)

    def test_deliveries_can_be_purged(self):
        operation = Operation()
        operation("record_failure", failure(channels=("slack", "mail")), 0.0)
        assert operation("purge", lambda _, delivery: delivery.channel == "mail") == 1
        assert [delivery.channel for delivery in operation.all[0].deliveries] == ["slack"]

    def test_an_incident_without_news_for_a_month_is_dropped(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        operation.look(RETENTION + 1)
        assert operation.all  # its delivery was not sent yet
        operation.sent()
        operation.look(RETENTION + 1)
        assert operation.all == []

    def test_an_invalid_state_counts_as_none(self):
        for state in (b"nonsense", b"7", b'[{"old": 1}]', b'{"a": []}'):
            assert Incidents.decode(state).all == []


class TestChannelBackoff:
    def test_one_message_a_second(self):
        backoff = ChannelBackoff().reserved(10.0)
        assert backoff.next == 10.0 + GAP
        assert backoff.reserved(10.2).next == 10.0 + 2 * GAP

    def test_ever_longer_pauses_while_it_cannot_be_reached(self):
        backoff, pauses = ChannelBackoff(), []
        for _ in range(12):
            backoff = backoff.failed(0.0, None, "down")
            pauses.append(backoff.next)
        assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
        assert pauses[-1] == 300.0
        assert ChannelBackoff.decode(backoff.encode()) == backoff
        assert backoff.succeeded().failures == 0

    def test_retry_after_is_heeded_up_to_a_bound(self):
        assert ChannelBackoff().failed(0.0, 30.0, "429").next == 30.0
        assert ChannelBackoff().failed(0.0, 3600.0, "429").next == LONGEST_RETRY_AFTER
        assert ChannelBackoff().failed(0.0, 0.0, "429").next == GAP

    def test_an_invalid_state_counts_as_fresh(self):
        for state in (b"nonsense", b'[["a":1}'):
            assert ChannelBackoff.decode(state) == ChannelBackoff()


KINDS = st.sampled_from(["a", "b"])


class Account(RuleBasedStateMachine):
    """The messages add up to the failures, whatever happens on their way."""

    def __init__(self):
        super().__init__()
        self.operation = Operation()
        self.now = 0.0
        self.failed = 0
        self.messages = {}  # by key: occasion, count, total, as delivered
        self.uncertain = set()  # keys that may have arrived
        self.order = {}
        self.serial = 0

    @rule(kind=KINDS, number=st.integers(1, 3), age=st.sampled_from([0.0, 0.0, 50.0]), silenced=st.booleans())
    def fail(self, kind, number, age, silenced):
        untold_before = {one.id: one.unreported for one in self.operation.all}
        self.serial += 1
        report = {"at": self.now - age, "silenced": silenced, "source": Source("me", self.serial)}
        incident = self.operation("record_failure", failure(kind, number=number), self.now, **report)
        before = self.operation.state
        self.operation("record_failure", failure(kind, number=number), self.now, **report)
        assert Incidents.decode(before).all == self.operation.all, "a repeated report changes nothing"
        self.failed += number
        if not silenced and incident.id not in untold_before:
            assert incident.deliveries, "the first failure is reported at once"

    @rule()
    def succeed(self):
        self.operation("record_successes", 1, self.now, self.now)

    @rule(seconds=st.sampled_from([1.0, 100.0, 301.0]), silenced=st.booleans())
    def wait(self, seconds, silenced):
        self.now += seconds
        self.operation.look(self.now, silenced=silenced)

    @rule(fate=st.sampled_from(["delivered", "delivered, and the sender died", "refused"]))
    def send(self, fate):
        found = self.operation("lease", "slack", self.now, self.now + 15)
        if found is None:
            return
        incident, delivery = found
        key, said = incident.key(delivery), (delivery.occasion, delivery.count, delivery.total)
        assert self.messages.get(key, said) == said, "a message that is repeated says the same"
        if key in self.messages:
            assert key in self.uncertain, "only what may have been lost is sent again"
        assert delivery.number >= self.order.get(incident.id, 0), "messages of one incident come in their order"
        if fate != "refused":
            self.messages[key] = said
            self.order[incident.id] = delivery.number
        if fate == "delivered":
            self.uncertain.discard(key)
            self.operation("mark_delivered", DeliveryId(incident.id, "slack", delivery.number), {})
        elif fate == "refused":
            self.operation.refused(incident, delivery, "no", self.now, now=self.now)
        else:
            self.uncertain.add(key)

    @invariant()
    def it_adds_up(self):
        for incident in self.operation.all:
            keys = {incident.key(delivery): delivery for delivery in incident.deliveries}
            said = {**{key: self.messages[key] for key in self.messages if key.startswith(f"{incident.id}-")}}
            said.update({key: (one.occasion, one.count, one.total) for key, one in keys.items()})
            in_order = [said[key] for key in sorted(said, key=lambda key: int(key.rpartition("-")[2]))]
            reported = 0
            for occasion, count, total in in_order:
                reported = total if occasion == "recovered" else reported + count
                assert reported == total
            silent = incident.reported == "" and incident.closed
            assert silent or reported + incident.unreported == incident.total

    @precondition(lambda self: self.operation.all)
    @invariant()
    def at_most_one_message_per_window_is_written(self):
        for incident in self.operation.all:
            made = [delivery.created for delivery in incident.deliveries if delivery.occasion != "recovered"]
            assert all(later - earlier >= COOLDOWN for earlier, later in itertools.pairwise(made))


def test_messages_add_up_to_the_failures():
    how = hypothesis_settings(max_examples=150, stateful_step_count=40, deadline=None)
    run_state_machine_as_test(Account, settings=how)


class TestAClockThatWasFastForAMoment:
    """The times that it stored lie further ahead than a correct clock can set them: they count as now."""

    FAST = 3600.0

    def test_does_not_keep_failures_from_being_reported(self):
        operation = Operation()
        operation("record_failure", failure(), self.FAST)
        assert operation.sent() == ("first", 1, 1)
        operation("record_failure", failure(), 1.0)
        assert operation.deliveries == [("digest", 1, 2)]

    def test_keeps_the_window_of_a_correct_clock_whatever_the_next_cooldown(self):
        operation = Operation()
        operation("record_failure", failure()._replace(cooldown=2 * COOLDOWN), 0.0)
        operation("record_failure", failure(), 1.0)
        operation("record_failure", failure(), 2.0)
        assert operation.deliveries == [("first", 1, 1)]

    def test_does_not_delay_a_digest(self):
        operation = Operation()
        operation("record_failure", failure(), self.FAST)
        operation("record_failure", failure(), self.FAST)
        operation.sent()
        operation.look(1.0)
        assert operation.deliveries == [("digest", 1, 2)]

    def test_does_not_keep_an_incident_open(self):
        operation = Operation()
        operation("record_failure", failure(), self.FAST)
        operation("record_successes", 1, 1.0, 1.0)
        assert operation.deliveries == [("first", 1, 1), ("recovered", 1, 1)]

    def test_does_not_hide_a_failure_after_the_end_of_an_incident(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        operation("record_successes", 1, self.FAST, self.FAST)
        operation.sent()
        operation("record_failure", failure(), 2.0)
        (incident,) = operation.all
        assert not incident.closed

    def test_does_not_keep_a_delivery_leased(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        operation("lease", "slack", self.FAST, self.FAST + 15)  # its sender dies
        assert operation("next_delivery", FREE, 1.0) == 1.0
        assert not operation("has_lease", 1.0)
        assert operation("lease", "slack", 1.0, 16.0) is not None

    def test_does_not_delay_a_refused_delivery(self):
        operation = Operation()
        operation("record_failure", failure(), 0.0)
        incident, delivery = operation("lease", "slack", 1.0, 16.0)
        operation.refused(incident, delivery, "no", self.FAST + 30, now=self.FAST)
        assert operation("next_delivery", FREE, 1.0) == 1.0

    def test_does_not_block_a_channel(self):
        for backoff in (
            ChannelBackoff().reserved(self.FAST),
            ChannelBackoff().failed(self.FAST, None, "down"),
            ChannelBackoff().failed(self.FAST, 30.0, "asked for peace"),
            ChannelBackoff().failed(self.FAST, 1e9, "asked for peace").succeeded(),
            ChannelBackoff().reserved(self.FAST).reserved(self.FAST),
        ):
            stored = ChannelBackoff.decode(backoff.encode()).clamped(0.0)
            assert stored.next == 0.0
            assert backoff.reserved(0.0).next == GAP

    def test_is_not_suspected_because_of_a_long_backoff(self):
        backoff = ChannelBackoff().failed(0.0, 1e9, "asked for peace")
        assert ChannelBackoff.decode(backoff.encode()).clamped(0.0).next == LONGEST_RETRY_AFTER
        assert ChannelBackoff().reserved(0.0).reserved(0.0).clamped(0.0).next == 2 * GAP
