"""`report.html` is one file: it can be mailed, kept and opened without a network."""

import re
from html.parser import HTMLParser

import page
import pytest
from records import Record
from summary import Month, RunSummary

from resilient_tasks import RunReport


class References(HTMLParser):
    """Everything in a page that a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.found, self.styles = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name in {"src", "srcset", "href", "xlink:href", "data", "poster", "action"}:
                self.found.append(value)
            elif value and "url(" in value:
                self.styles.append(value)

    def handle_data(self, data):
        if "url(" in data or "@import" in data:
            self.styles.append(data)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    faults = {"index": (), "planes": ("no answer",), "page 1": ("status 503", "<script>")}
    month = Month("2013-07", True, True, 16.3, 9.8, 9.1, "a <b>note</b>", 1000, 900, 60, 40, ("planes",), faults)
    decided = Record("2013-07", "kept", "error <i>so</i>", 9.1, 9.8, 16.3, 0.8, 1.1)
    path = tmp_path_factory.mktemp("page") / "report.html"
    summary = RunSummary(7, (month,), {"dest: is null": 40}, 2, 1, 0, 12.5, ("July page 1: <i>",))
    page.write(summary, RunReport([]), ["the API's log: <4> requests"], [decided], path)
    return path.read_text(encoding="utf-8")


def test_the_page_refers_to_nothing_outside_itself(written):
    references = References(written)

    assert [at for at in references.found if not at.startswith(("#", "data:"))] == []
    assert not any("@import" in style for style in references.styles)
    assert [at for style in references.styles for at in re.findall(r"url\(\s*['\"]?(.)", style) if at != "#"] == []
    assert references.found, "the parser sees the picture's own references"


def test_the_page_runs_nothing(written):
    assert not References(written).tags & {"script", "iframe", "object", "embed", "base"}


def test_what_the_run_says_is_text_in_the_page_and_never_markup(written):
    assert "<b>note" not in written
    assert "a &lt;b&gt;note" in written
    assert "July page 1: &lt;i&gt;" in written
    assert "log: &lt;4&gt; requests" in written
    assert "kept – error &lt;i&gt;so&lt;/i&gt;" in written


def test_the_page_says_what_the_accounts_are_and_that_they_differ(written):
    section = written[written.index("Three accounts") : written.index("Month by month")]

    assert "none computed from another" in section
    assert '<h1 class="bad">THE ACCOUNTS DIFFER on 1 point' in written
    assert "agree" not in section


def test_the_page_adds_up_the_rows_of_all_months(written):
    total = written[written.index("<tfoot>") : written.index("</tfoot>")]

    assert re.findall("<td>(.*?)</td>", total)[:6] == ["all", "1,000", "900", "60", "40", "0"]
