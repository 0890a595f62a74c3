"""Untrusted text on terminals and in Markdown."""

import io
import json
import logging
import re

import pytest

from resilient_tasks import Console, RunReport, resilient
from resilient_tasks.alerts.facts import latest
from resilient_tasks.alerts.message import Message
from resilient_tasks.cli.printing import as_json, print_table, say
from resilient_tasks.core import log_records
from resilient_tasks.core.events import CallFailed, NotifyFailed, bus
from resilient_tasks.core.shown import for_markdown, for_terminal
from resilient_tasks.observe.logs import formatter

#: Clears the screen, sets a title, returns the carriage, ends a C string, begins a sequence by a single C1 character,
#: changes the direction of writing, hides text.
HOSTILE = {
    "escape": "\x1b[2J\x1b]0;title\x07",
    "return": "begun\rdone",
    "nul": "a\x00b",
    "backspace": "a\x08b",
    "delete": "a\x7fb",
    "c1": "a\x9b31mb\x85c",
    "right to left": "a\u202eb\u2066c\u2069",
    "marks": "a\u200eb\u061cc\u200b",
    "separators": "a\u2028b\u2029c",
    "tags": "a\U000e0041b",
    "surrogate": "a\udc80b",
}
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\U000e0041\ud800-\udfff]"
)


@pytest.fixture(params=HOSTILE.values(), ids=HOSTILE.keys())
def hostile(request):
    return request.param


class TestATerminal:
    def test_is_shown_escaped_control_sequences(self, hostile):
        assert not OBEYED.search(for_terminal(hostile))
        assert for_terminal("\x1b[31m") == "\\x1b[31m"
        assert for_terminal("a\u202eb") == "a\\u202eb"
        assert for_terminal("\U000e0041") == "\\U000e0041"

    def test_is_shown_text_of_all_languages_and_line_breaks_unchanged(self):
        text = "Größe: 3 µs\n\tשלום, 日本語, 👍🏽, e\u0301"
        assert for_terminal(text) == text
        assert for_terminal("a\r\nb") == "a\nb"

    def test_is_shown_one_line_if_there_is_room_for_one(self):
        assert for_terminal("a\r\nb\nc", lines=False) == "a\\nb\\nc"

    def test_is_shown_a_clean_table_and_clean_lines(self, hostile, capsys):
        print_table(("a", hostile), [(1, hostile)])
        say(hostile)
        assert not OBEYED.search(capsys.readouterr().out)

    def test_is_shown_json_that_is_still_json(self, hostile):
        text = as_json([hostile, "Größe"])
        assert not OBEYED.search(text)
        assert json.loads(text) == [hostile, "Größe"]

    def test_is_shown_clean_alerts(self, hostile, capsys):
        Console().send(Message(key="k", incident="i", operation="f", error=hostile, notes=(hostile,)), within=1)
        assert not OBEYED.search(capsys.readouterr().err)


class TestALogLine:
    @pytest.fixture
    def logger(self):
        logger = logging.Logger("resilient_tasks.test")  # noqa: LOG001  # one of its own
        log_records.install(logger)
        return logger

    @pytest.fixture(params=["structlog", "structlog, colours", "json", "of the standard library"])
    def written(self, request, logger):
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        if request.param != "of the standard library":
            handler.setFormatter(formatter(json=request.param == "json", colors=False))
        logger.addHandler(handler)
        return stream.getvalue

    def test_holds_no_control_sequence(self, logger, written, hostile):
        logger.error("failed: %s", hostile, extra={"about": hostile})
        try:
            raise ValueError(hostile)
        except ValueError as error:
            error.add_note(hostile)
            logger.exception("failed")
        assert not OBEYED.search(written())

    def test_keeps_the_lines_of_a_traceback(self, logger, written):
        try:
            raise ValueError("one\x1b[2J\ntwo")
        except ValueError:
            logger.exception("failed")
        assert "ValueError" in written()
        assert "\\ntwo" in written() or "\ntwo" in written()
        assert "\\x1b[2J" in written()


def test_an_event_holds_no_control_sequence(hostile):
    event = CallFailed(operation="f", kind="", error_type="E", message=hostile, run={"flow_run": hostile})
    assert not OBEYED.search(event.sentence() + event.run["flow_run"])


def test_a_waiting_alert_holds_no_control_sequence(hostile):
    assert not OBEYED.search(latest(ValueError(hostile))["error"])


class TestMarkdown:
    @pytest.mark.parametrize(
        "text",
        [
            "[a link](https://evil.example)",
            "![a picture](https://evil.example/p.png)",
            "<script>alert(1)</script>",
            "<img src=x onerror=alert(1)>",
            "&lt;b&gt;",
            "a | b | c",
            "**bold** _it_ `code` ~~gone~~",
            "# heading",
            "- item",
            "1. item",
            "> quote",
            "https://evil.example www.evil.example a@evil.example",
            "```\ncode\n```",
            "\\[a link](x)",
        ],
    )
    def test_shows_a_text_unchanged(self, text):
        markdown = pytest.importorskip("markdown_it")
        shown = markdown.MarkdownIt("commonmark", {"html": True}).enable("table").render(for_markdown(text))
        (inside,) = re.findall(r"^<p>(.*)</p>\n$", shown, re.DOTALL)
        assert "<" not in inside
        import html

        assert html.unescape(inside) == " ".join(text.split())

    def test_leaves_a_name_unchanged(self):
        assert for_markdown("fetch_month ConnectionError ×2, a-b 3.5") == "fetch_month ConnectionError ×2, a-b 3.5"


def test_the_report_of_a_run_holds_no_markup_of_an_error(resilient_clock, resilient_events, hostile):
    def fails():
        raise ConnectionError("x")

    fails.__qualname__ = f"f<b>|{hostile}"
    resilient(retry=2)(fails).outcome()
    bus.emit(NotifyFailed(operation="f", channel="s", error_type="E", message=f"[x](http://y) <i>{hostile}"))
    report = RunReport(resilient_events)
    for text in (report.text(), report.markdown(), report.html()):
        assert not OBEYED.search(text)
    assert "<i>" not in report.markdown() + report.html()
    assert "<b>" not in report.markdown() + report.html()
    assert "[x](" not in report.markdown()
