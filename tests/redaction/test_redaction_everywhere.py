"""A corpus of secrets passes through tasks and flows on a Prefect server, and no output contains any of them.

Every output is searched: messages, the server's database with its states, log lines and artifacts, stored results, log
records, standard error, events, reports, and the files of the quarantine and of the incidents. Only the cells of
quarantined rows are kept as they were read.
"""

import asyncio
import base64
import contextlib
import dataclasses
import io
import json
import logging
import re
import sqlite3
import sys
import time
from pathlib import Path
from typing import ClassVar

import httpx
import pandas as pd
import pandera.pandas as pa
import pytest
from prefect import settings as prefects
from prefect.logging import get_run_logger
from prefect.states import Failed as PrefectsFailed
from pyarrow import parquet

from resilient_tasks import (
    Console,
    Fallback,
    Quarantine,
    Retry,
    Slack,
    Timeout,
    Validate,
    resilient,
    resilient_flow,
    resilient_task,
)
from resilient_tasks.alerts import gate
from resilient_tasks.alerts.outbox import use_incidents
from resilient_tasks.core import settings
from resilient_tasks.core.events import bus
from resilient_tasks.core.outcome import Degraded, Failed
from resilient_tasks.observe.logs import get_logger
from resilient_tasks.observe.quality import DataQuality
from resilient_tasks.observe.report import RunReport
from resilient_tasks.prefect.task import outcome_of
from resilient_tasks.state.sqlite import SQLiteStore
from resilient_tasks.testing import FakeSlack, flush_messages

sys.path.insert(0, str(Path(__file__).parent))
from secrets_corpus import corpus, look_alikes

CORPUS = corpus()
LOOK_ALIKES = look_alikes()
#: The secrets in one error; messages truncate long texts, so those that are sent contain few.
AT_ONCE = 40
CHUNKS = [CORPUS[at : at + AT_ONCE] for at in range(0, len(CORPUS), AT_ONCE)]
SENT = [CORPUS[at : at + 4] for at in range(0, len(CORPUS), 4)]
REGISTERED = "Nightingale in the Garden"

#: A log line that marks the end: once it is in the server's database, so is everything logged before.
LAST = "the last line of all"


def text_of(number):
    return "\n".join([*(planted.text for planted in CHUNKS[number]), REGISTERED])


@dataclasses.dataclass(frozen=True)
class Kept:
    """A channel that records its messages."""

    name: str
    messages: ClassVar = []

    def send(self, message, *, within):
        self.messages.append(repr(message) + message.text())


class Refused(ConnectionError):
    """An error with its own signature and attributes, as in HTTP libraries."""

    def __init__(self, *, url, sent):
        super().__init__()
        self.url, self.sent = url, sent
        self.headers = dict.fromkeys(("X-Api-Key", "accept"), "none")

    def __str__(self):
        return f"no answer from {self.url}"


def fail(number):
    """Raise an error with secrets in its text, its cause, a note and its attributes."""
    text = text_of(number)
    request = httpx.Request("POST", "http://127.0.0.1/x", headers={"Authorization": f"Bearer {CHUNKS[0][0].secret}"})
    try:
        raise ValueError(text)
    except ValueError as cause:
        error = Refused(url=text, sent={"request": request, "texts": [text, (text.encode(), {text})]})
        error.add_note(f"it was {text}")
        raise error from cause


def failing_tasks():
    """Return tasks by name, each called with the number of a chunk."""
    once = {"retry": Retry(attempts=2, wait=0)}
    first = set()

    @resilient_task(**once, persist_result=True)
    def raises(number):
        fail(number)

    @resilient_task(**once, persist_result=True)
    async def raises_async(number):
        fail(number)

    @resilient_task(**once, fallback=lambda number: number)
    def degrades(number):
        fail(number)

    @resilient_task(**once)
    def recovers(number):
        if number not in first:
            first.add(number)
            fail(number)
        return number

    @resilient_task(deadline=60, persist_result=True)
    def streams(number):
        yield 1
        fail(number)

    @resilient_task(fallback=Fallback(fail))
    def fallback_fails(number):
        raise ConnectionError(text_of(number))

    return {name: value for name, value in locals().items() if hasattr(value, "plan")}


def other_tasks():
    """Return tasks that emit secrets in other ways than by raising at once."""
    once = {"retry": Retry(attempts=2, wait=0)}

    @resilient_task(timeout=Timeout(60, enforce="process"), persist_result=True)
    def in_a_child(number):
        get_logger().warning(text_of(number))
        raise ConnectionError(text_of(number))

    @resilient_task(**once)
    def says(number):
        log = get_logger(about=text_of(number))
        log.info(text_of(number), detail={"nested": [text_of(number)]})
        log.info(LOOK_ALIKES[number])
        try:
            fail(number)
        except Refused:
            log.exception("it failed")

    @resilient_task(**once)
    def returns_a_failed_state(number):
        return PrefectsFailed(message=text_of(number), data=ConnectionError(text_of(number)))

    return {name: value for name, value in locals().items() if hasattr(value, "plan")}


def validating_tasks(folder):
    """Return tasks whose data is invalid."""

    @resilient_task(validate=Validate(output=schema(), on_invalid="quarantine", quarantine=str(folder / "kept")))
    def quarantines(number):
        return frame(number)

    @resilient_task(
        validate=Validate(output=schema(), on_invalid="quarantine", max_invalid=0, quarantine=str(folder / "kept")),
        persist_result=True,
    )
    def refuses(number):
        return frame(number)

    @resilient_task(validate=Validate(output=broken_schema(number_of_secrets=3)), persist_result=True)
    def is_wrong_as_a_whole(number):
        return frame(number)

    return {name: value for name, value in locals().items() if hasattr(value, "plan")}


def schema():
    # Each value is bad, so that each appears as a reason's value.
    never = pa.Check(lambda series: series == "", name="is_empty")
    return pa.DataFrameSchema({"note": pa.Column(str, never), "api_key": pa.Column(str, never)})


def broken_schema(number_of_secrets):
    def raises(_series):
        raise ValueError(" ".join(planted.text for planted in CORPUS[:number_of_secrets]))

    return pa.DataFrameSchema({"note": pa.Column(str, pa.Check(raises, name="breaks"))})


def frame(number):
    texts = [planted.text for planted in CHUNKS[number]]
    return pd.DataFrame({"note": texts, "api_key": [planted.secret for planted in CHUNKS[number]]})


def make_notifying(slack):
    """Return tasks that alert channels of their errors, each its own operation and incident."""
    tasks = []
    for number, planted in enumerate(SENT):
        channels = [Kept(f"kept:{number}")]
        channels += [Slack(webhook=slack.webhook_url), Console()] if number in {0, 40} else []

        text = "\n".join(one.text for one in planted)

        def alerts(text=text):
            raise ConnectionError(text)

        alerts.__name__ = alerts.__qualname__ = f"alerts_{number}"
        tasks.append(resilient_task(notify=channels)(alerts))
    return tasks


def run_everything(folder, slack):
    """Run everything to its end."""
    tasks = {**failing_tasks(), **other_tasks(), **validating_tasks(folder)}
    notifying = make_notifying(slack)

    @resilient_flow(on_unobserved="ignore")
    def all_of_it():
        for number in range(len(CHUNKS)):
            for name, task in tasks.items():
                if name in {"in_a_child", "raises_async"} and number:
                    continue  # one is enough: they are slow
                with contextlib.suppress(Exception):
                    result = task(number)
                    result = asyncio.run(result) if asyncio.iscoroutine(result) else result
                    list(result) if name == "streams" else None
        for task in notifying:
            with contextlib.suppress(ConnectionError):
                task()
        # In this process, the outcome has the original.
        failed = [outcome_of(tasks["raises"].submit(1)), tasks["raises"].outcome(1)]
        assert all(isinstance(outcome, Failed) for outcome in failed)
        assert all(type(outcome.error) is Refused for outcome in failed)
        assert all(CHUNKS[1][0].secret in str(outcome.error) for outcome in failed)
        degraded = tasks["degrades"].outcome(0)
        assert isinstance(degraded, Degraded)
        assert CHUNKS[0][0].secret in str(degraded.because)

    @resilient_flow(retry=Retry(attempts=2, wait=0), persist_result=True)
    def raises_itself(number: int):
        fail(number)

    @resilient_flow(persist_result=True)
    async def raises_itself_async(number: int):
        fail(number)

    @resilient_flow
    def yields_and_raises(number: int):
        yield 1
        fail(number)

    @resilient_flow
    def last():
        get_run_logger().info(LAST)

    assert all_of_it(return_state=True).is_completed()
    assert raises_itself(1, return_state=True).is_failed()
    assert asyncio.run(raises_itself_async(2, return_state=True)).is_failed()
    with pytest.raises(Refused):
        list(yields_and_raises(3))
    a_sink_fails()
    assert flush_messages(30)
    last(return_state=True)


def a_sink_fails():
    def sink(event):
        fail(0)

    with bus.listening(sink), contextlib.suppress(ConnectionError):
        resilient(retry=Retry(attempts=2, wait=0))(fail)(0)


class Records(logging.Handler):
    """What a plain handler writes, and everything else in a record."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.lines = []

    def emit(self, record):
        held = {name: value for name, value in vars(record).items() if name != "exc_info"}
        self.lines.append(f"{self.format(record)}\n{held!r}")


_LOGGERS = ("resilient_tasks", "prefect", "prefect.task_runs", "prefect.flow_runs")


@pytest.fixture(scope="module")
def written(resilient_prefect, tmp_path_factory):
    """Return everything that was written, as text by sink."""
    folder = tmp_path_factory.mktemp("everything")
    records, happened, stderr, before = Records(), [], io.StringIO(), settings.current
    for_this = {prefects.PREFECT_LOCAL_STORAGE_PATH: folder / "results"}
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    with contextlib.ExitStack() as stack:
        slack = stack.enter_context(FakeSlack())
        stack.enter_context(gate.open_to(lambda _: True))  # a fixture keeps alerts, and this file, away from tests
        stack.enter_context(use_incidents(SQLiteStore(f"sqlite:///{folder / 'incidents.db'}")))
        stack.enter_context(prefects.temporary_settings(for_this))
        stack.enter_context(contextlib.redirect_stderr(stderr))
        stack.enter_context(bus.listening(happened.append))
        for logger in loggers:
            logger.addHandler(records)
            stack.callback(logger.removeHandler, records)
        stack.callback(setattr, settings, "current", before)
        settings.configure(incidents=f"sqlite:///{folder / 'incidents.db'}", secrets=[REGISTERED], notify_cooldown=600)
        run_everything(folder, slack)
        return {
            "slack": "\n".join(map(repr, slack.messages)),
            "console": stderr.getvalue(),
            "channels": "\n".join(Kept.messages),
            "log records": "\n".join(records.lines),
            "events.jsonl": "\n".join(json.dumps(event.as_dict(), default=repr) for event in happened),
            "events": "\n".join(map(repr, happened)),
            "sentences": "\n".join(event.sentence() for event in happened),
            "reports": "\n".join(
                (RunReport(happened).text(), RunReport(happened).markdown(), RunReport(happened).html())
            ),
            "data quality": DataQuality(happened).markdown(),
            "the server's database": database(),
            "results": results(folder / "results"),
            "quarantine": quarantined(folder / "kept", lambda name: name.startswith("__quarantine_"))
            + reasons(folder / "kept"),
            "cells": quarantined(folder / "kept", lambda name: not name.startswith("__quarantine_")),
            "incidents": "\n".join(tables(path) for path in folder.rglob("*.db")),
        }


def database():
    """Return everything in the server's database, once it has the last line and the last states."""
    url = prefects.PREFECT_API_DATABASE_CONNECTION_URL.value()
    url = url.get_secret_value() if hasattr(url, "get_secret_value") else str(url)
    path = url.partition("///")[2]
    until = time.monotonic() + 60
    seen = ""
    while time.monotonic() < until:
        dump = tables(path)
        if LAST in dump and len(dump) == len(seen):
            return dump
        seen = dump
        time.sleep(1)
    raise AssertionError("the server has not taken in everything")


def tables(path):
    """Return every cell of every table of an SQLite database as text."""
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [row for name in names for row in connection.execute(f'SELECT * FROM "{name}"')]
    return "\n".join(
        cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell) for row in rows for cell in row
    )


def results(folder):
    """Return the results that Prefect stores: pickles in base64, in JSON."""
    texts = []
    for path in folder.rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace")
            packed = re.findall(r"[A-Za-z0-9+/=\\n]{200,}", text)
            texts += [text, *(base64.b64decode(part.replace("\\n", "")).decode("utf-8", "replace") for part in packed)]
    return "\n".join(texts)


def quarantined(folder, wanted):
    """Return the given columns of all the quarantine's files, with the files' names and metadata."""
    texts = []
    for path in folder.rglob("*.parquet"):
        table = parquet.read_table(path)
        texts += [str(path), repr(table.schema.metadata)]
        texts += [repr(table[name].to_pylist()) for name in table.column_names if wanted(name)]
    return "\n".join(texts)


def reasons(folder):
    """Return the reasons in the quarantine, with the values that failed."""
    store = Quarantine(folder)
    return "\n".join(repr(store.read(batch)["reasons"].tolist()) for batch in store.list())


SINKS = (
    *("slack", "console", "channels", "log records", "events.jsonl", "events", "sentences", "reports", "data quality"),
    *("the server's database", "results", "quarantine", "incidents"),
)


@pytest.mark.parametrize("sink", SINKS)
def test_no_sink_contains_a_secret(written, sink):
    text = written[sink]
    found = [(planted.shape, planted.secret) for planted in CORPUS if planted.secret in text]
    assert not found, f"{len(found)} of {len(CORPUS)} in {sink}: {found[:5]}"
    assert REGISTERED not in text


@pytest.mark.parametrize("sink", [sink for sink in SINKS if sink != "reports"])  # reports count, and quote nothing
def test_every_sink_contains_redacted_secrets(written, sink):
    assert written[sink].count("***") >= 3


@pytest.mark.parametrize("sink", ["log records", "the server's database"])
def test_look_alikes_stay_unchanged(written, sink):
    said = LOOK_ALIKES[: len(CHUNKS)]
    assert not [text for text in said if text not in written[sink] and json.dumps(text)[1:-1] not in written[sink]]


def test_the_cells_of_a_quarantined_row_are_kept_as_they_were_read(written):
    read = written["cells"].encode().decode("unicode_escape").encode("latin-1").decode("utf-8", "replace")
    assert sum(planted.secret in read for planted in CORPUS) > 0.9 * len(CORPUS)
