"""LastGood against a model of it: successes, failures, damage and restarts in any order, on a virtual clock."""

import asyncio
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from resilient_tasks import Degraded, Failed, Fallback, LastGood, Ok, resilient
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.states import use_store
from resilient_tasks.testing import RecordedEvents, VirtualClock, use_clock

MAX_AGE = 100
KEEP = 3
MONTHS = st.sampled_from(["05", "06", "07", "08"])
DAMAGED = object()
VALUES = st.one_of(st.integers(), st.none(), st.lists(st.text(max_size=2), max_size=2), st.tuples(st.integers()))


class LastGoodMachine(RuleBasedStateMachine):
    """The model is what was last accepted for each month, and when; DAMAGED where its file is."""

    @initialize(is_async=st.booleans())
    def begin(self, is_async):
        self.is_async = is_async
        self.around = ExitStack()
        self.folder = tempfile.mkdtemp()
        self.clock = VirtualClock()
        self.around.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.around.enter_context(use_clock(self.clock))
        self.around.enter_context(use_store(MemoryStore()))
        self.events = self.around.enter_context(RecordedEvents.listening())
        self.kept = {}
        self.order = []
        self.restart()

    def teardown(self):
        self.around.close()

    @rule()
    def restart(self):
        """Decorate anew: nothing is known but what lies in the folder."""

        def answer(month):
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.inner(month) if self.is_nested else self.answer

        self.inner = resilient(fallback=Fallback(value="stale"))(self.fails)
        fn = answer
        if self.is_async:

            async def fn(month):
                return answer(month)

        policy = LastGood(MAX_AGE, folder=self.folder, keep=KEEP, name="months")
        self.call = resilient(fallback=policy)(fn)
        self.is_nested = False

    @staticmethod
    def fails(month):
        raise ConnectionError(month)

    def outcome(self, month):
        outcome = self.call.outcome(month)
        return asyncio.run(outcome) if self.is_async else outcome

    @rule(month=MONTHS, value=VALUES)
    def succeed(self, month, value):
        self.answer = value
        outcome = self.outcome(month)
        assert isinstance(outcome, Ok)
        assert outcome.value == value
        self.kept[month] = (value, self.clock.now())
        self.order = [*(other for other in self.order if other != month), month]
        for gone in self.order[:-KEEP]:
            self.kept.pop(gone, None)
        self.order = self.order[-KEEP:]

    @rule(month=MONTHS)
    def succeed_on_a_stand_in(self, month):
        self.answer, self.is_nested = None, True
        assert self.outcome(month).value == "stale"
        self.is_nested = False

    @rule(month=MONTHS)
    def fail(self, month):
        self.answer = ConnectionError("down")
        outcome = self.outcome(month)
        found = self.kept.get(month)
        notes = self.answer.__notes__
        if found is None:
            assert isinstance(outcome, Failed)
            assert "no last good result" in notes[0]
            return
        value, since = found
        old = self.clock.now() - since
        if abs(old - MAX_AGE) < 1e-5:  # unix times as floats differ by less: it may be either
            return
        if old > MAX_AGE:
            assert isinstance(outcome, Failed)
            assert "max_age is" in notes[0]  # of a damaged one too: its age is known without reading it
            return
        if value is DAMAGED:
            assert isinstance(outcome, Failed)
            assert "cannot be read" in notes[0]
            return
        assert isinstance(outcome, Degraded)
        assert outcome.value == value
        assert type(outcome.value) is type(value)
        assert abs(self.events.named("fallback.used")[-1].age - old) < 1e-3

    @rule(month=MONTHS)
    def fail_with_a_bug(self, month):
        self.answer = KeyError("bug")
        assert isinstance(self.outcome(month), Failed)

    @rule(seconds=st.sampled_from([0.001, 1, 30, MAX_AGE, 1000]))
    def advance(self, seconds):
        self.clock.advance(seconds)

    @precondition(lambda self: self.intact())
    @rule(data=st.data())
    def damage(self, data):
        month = data.draw(st.sampled_from(self.intact()))
        # Its file is the one that is gone when the month has a new result.
        before = set(self.files())
        value, _ = self.kept[month]
        self.answer = value
        self.outcome(month)
        self.kept[month] = (value, self.clock.now())
        self.order = [*(other for other in self.order if other != month), month]
        (path,) = set(self.files()) - before
        path.write_bytes(path.read_bytes()[:-1])
        self.kept[month] = (DAMAGED, self.clock.now())

    @rule()
    def be_killed_while_writing(self):
        under = Path(self.folder, "months")
        under.mkdir(exist_ok=True)
        (under / ".half.tmp").write_bytes(b"half")

    def intact(self):
        return [month for month, (value, _) in self.kept.items() if value is not DAMAGED]

    def files(self):
        return [path for path in Path(self.folder).rglob("*") if path.is_file() and not path.name.startswith(".")]

    @invariant()
    def nothing_else_is_kept(self):
        if hasattr(self, "kept"):
            assert len(self.files()) == len(self.kept)


LastGoodMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestLastGood = LastGoodMachine.TestCase
