"""Settings, from `configure` and from the environment."""

import subprocess
import sys

import pytest

from resilient_tasks import Fallback, PolicyError, Retry
from resilient_tasks.core import settings
from resilient_tasks.core.settings import Settings


def from_environment(monkeypatch, **values):
    for name, value in values.items():
        monkeypatch.setenv(f"RESILIENT_TASKS_{name}", value)
    return settings._from_environment()


def test_settings_that_are_not_named_stay(own_settings):
    assert own_settings(quarantine="bad") == Settings(quarantine="bad")
    assert own_settings(notify_deadline=2.0, notify_cooldown=0.5) == Settings(
        quarantine="bad", notify_deadline=2.0, notify_cooldown=0.5
    )
    assert settings.current.quarantine == "bad"


@pytest.mark.parametrize("store", ["redis", "redis:6379", "mysql://host/db", "memory://somewhere", "sqlite://", ""])
def test_an_invalid_store_is_refused_at_once(own_settings, store):
    with pytest.raises(PolicyError, match=r"sqlite:///"):
        own_settings(store=store)
    assert settings.current.store == "memory:"


def test_a_store_timeout_of_zero_is_refused(own_settings):
    with pytest.raises(PolicyError, match=r"store_timeout=\.\.\.\) is a number of seconds above 0"):
        own_settings(store_timeout=0)


def test_child_processes_use_the_same_store(own_settings, monkeypatch):
    monkeypatch.setenv("RESILIENT_TASKS_STORE", "memory:")
    own_settings(store="sqlite:///shared.db")
    assert settings._from_environment().store == "sqlite:///shared.db"


@pytest.mark.parametrize(("word", "enabled"), [("1", True), ("True", True), ("on", True), ("no", False), (" 0", False)])
def test_the_environment_switches_on_and_off(monkeypatch, word, enabled):
    assert from_environment(monkeypatch, ENABLED=word).enabled is enabled


def test_texts_and_seconds_in_the_environment(monkeypatch):
    found = from_environment(monkeypatch, QUARANTINE="/data/bad", NOTIFY_DEADLINE="2.5")
    assert found == Settings(quarantine="/data/bad", notify_deadline=2.5)


def test_an_empty_variable_is_ignored(monkeypatch):
    assert from_environment(monkeypatch, ENABLED="", NOTIFY_COOLDOWN="") == Settings()


def test_a_word_that_is_neither_true_nor_false_is_refused(monkeypatch):
    with pytest.raises(PolicyError, match=r"RESILIENT_TASKS_ENABLED must be one of true, false.*'maybe'"):
        from_environment(monkeypatch, ENABLED="maybe")


def test_seconds_that_are_not_a_number_are_refused(monkeypatch):
    with pytest.raises(PolicyError, match=r"RESILIENT_TASKS_NOTIFY_DEADLINE is a number of seconds above 0, not 'ten'"):
        from_environment(monkeypatch, NOTIFY_DEADLINE="ten")


def test_a_process_starts_with_the_settings_of_its_environment():
    program = (
        "from resilient_tasks import resilient, Fallback\n"
        "@resilient(fallback=Fallback(value='stand-in'))\n"
        "def f(): raise ConnectionError('real')\n"
        "try: print(f())\n"
        "except ConnectionError as error: print(error)\n"
    )

    def output(**environment):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True, timeout=60
        )
        return done.stdout.strip()

    assert output() == "stand-in"
    assert output(RESILIENT_TASKS_ENABLED="0") == "real"


def test_switched_off_a_decorated_function_runs_bare(drive, flaky, own_settings, resilient_clock, resilient_events):
    fetch = flaky(ConnectionError("first"))
    call = drive(fetch, retry=Retry(attempts=3, wait=1))
    own_settings(enabled=False)
    with pytest.raises(ConnectionError, match="first"):
        call()
    assert call("again") == "again"
    assert (resilient_clock.waits, resilient_events) == ([], [])


def test_switched_off_outcome_raises_on_failure(drive, flaky, own_settings):
    call = drive(flaky(KeyError("first")), fallback=Fallback(value="unused", on=KeyError))
    own_settings(enabled=False)
    with pytest.raises(KeyError, match="first"):
        call.outcome()
    assert call.outcome("again").value == "again"
