"""The page without a browser: what it says first, what it embeds, and that no text of a report becomes markup."""

import copy
import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest
import report_examples
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_tasks.core.shown import for_terminal
from resilient_tasks.observe.page import html

VOID = {"meta", "link", "br", "img", "input"}


class Parsed(HTMLParser):
    """The elements of a page: tags with the names of attributes, texts, and what is in scripts."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.texts, self.scripts, self.attributes, self._open = [], [], [], [], []
        self.feed(page)
        self.close()
        assert self._open == [], "each element ends"

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, *(name for name, _ in attrs)))
        self.attributes.extend(attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        (self.scripts if self._open and self._open[-1] in {"script", "style"} else self.texts).append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def parsed(report):
    return Parsed(html(report))


def data_of(page):
    return json.loads(next(text for text in page.scripts if text.startswith('{"version"')))


def in_order(text, *parts):
    places = [text.find(part) for part in parts]
    assert -1 not in places, parts[places.index(-1)]
    assert places == sorted(places), parts


def test_what_was_not_recovered_comes_first_with_its_error_status_attempts_and_reason():
    page = parsed(report_examples.small()).text
    in_order(page, "publish failed and was not recovered: HTTP 422", "Not recovered", "Degraded", "Recovered")
    failed = page[page.index("Not recovered The caller") : page.index("Degraded A fallback")]
    in_order(
        failed,
        "publish",
        "HTTP 422",
        "HTTPStatusError",
        "model 'pilot' is unknown",
        "HTTP 422 is permanent",
        "1",
        "12:04:11",
    )


def test_the_sections_follow_in_the_order_of_their_weight():
    page = parsed(report_examples.small()).text
    headings = (
        "A fallback answered.",
        "A later attempt succeeded.",
        "27,004 rows checked = 26,962 valid + 42 invalid.",
    )
    in_order(
        page, *headings, "1 sent, 1 waiting, 2 only counted.", "Timeouts that did not", "An open circuit", "Remarks"
    )


def test_a_degraded_call_names_the_fallback_and_the_age_of_its_data():
    page = parsed(report_examples.small()).text
    in_order(page, "A fallback answered.", "fetch_planes", "last good result", "3 d 4 h", "2013-06-28", "TimedOut")


def test_every_attempt_is_there_without_script():
    page = parsed(report_examples.small()).text
    table = page[page.index("The time line as a table: 5 calls") :]
    table = table[table.index("fetch_month recovered") :]
    in_order(
        table, "attempt 1: failed after 2.0 s: HTTP 503: try again", "waited 2.0 s: backoff", "ok after 3.0 s", "42 of"
    )


def test_an_empty_report_says_that_nothing_failed():
    page = parsed(report_examples.empty())
    assert "Nothing failed" in page.text
    assert not any("timeline" in str(value) for _, value in page.attributes)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"failed": 3}, "3 calls failed and were not recovered"),
        ({"degraded": 1}, "Nothing failed for good; 1 call was degraded"),
        ({"rows_out": 2}, "Nothing failed; 2 rows were invalid"),
        ({"recovered": 4}, "Nothing failed for good; 4 calls recovered"),
    ],
)
def test_the_headline_is_the_gravest_thing(counts, said):
    report = report_examples.empty()
    report["counts"] |= counts
    assert said in parsed(report).text


def test_the_headline_names_what_failed():
    names = ["publish", "publish", "train", "score", "copy"]
    failures = [report_examples.failure(name, f"c{at}") for at, name in enumerate(names)]
    failures[2] |= {"error_type": "TimedOut", "http_status": None}
    report = report_examples.empty(not_recovered=failures)
    report["counts"]["failed"] = 5
    said = "5 calls failed and were not recovered: publish (HTTP 422), train (TimedOut), score (HTTP 422) and 1 more"
    assert said in parsed(report).text


def test_a_partial_report_says_so_before_anything_else_and_claims_nothing_for_the_rest():
    page = parsed(report_examples.empty(partial="the process was killed: no event after 12:03:07")).text
    in_order(page, "Nothing failed so far", "This report is incomplete. The process was killed", "not recovered")


def test_calls_that_had_not_ended_are_named_with_what_happened_last():
    report = report_examples.small() | {"partial": "the process was killed"}
    call = report["timeline"]["calls"][2]
    call |= {"outcome": "running", "marks": []}
    call["attempts"][2] |= {"ended": None, "outcome": "running"}
    page = parsed(report).text
    last = "fetch_month attempt 3: running 3 12:03:08 fetch_month-a3f"
    in_order(
        page, "A fallback answered", "Under way How these calls ended is unknown.", last, "A later attempt succeeded"
    )


def test_calls_that_are_left_out_of_the_time_line_are_counted():
    assert "12,345 further calls were left out" in parsed(report_examples.large(20)).text


def test_a_list_that_is_cut_short_says_so():
    report = report_examples.small()
    report["counts"]["failed"] = 1200
    assert "The caller got the error. 1 of 1,200 calls are listed." in parsed(report).text


def test_a_report_without_any_time_is_a_page():
    page = parsed(report_examples.without_times(report_examples.small())).text
    in_order(page, "publish failed and was not recovered", "last good result", "attempt 2: timeout: TimedOut: 10 s")


def test_numbers_that_are_none_do_not_break_the_data():
    report = report_examples.small()
    report["counts"]["waited_s"] = float("nan")
    report["recovered"][0]["time"] = 1e30
    assert data_of(parsed(report))["counts"]["waited_s"] is None


def test_one_row_of_each_operation_and_error_comes_before_the_fold():
    failures = [report_examples.failure("publish", f"c{at}") for at in range(9)]
    failures.append(report_examples.failure("train", "c9", error="TimedOut", error_type="TimedOut", http_status=None))
    page = parsed(report_examples.empty(not_recovered=failures)).text
    in_order(page, "publish", "train TimedOut", "4 more rows")


def test_the_oldest_data_comes_first():
    report = report_examples.small()
    (found,) = report["degraded"]
    fresh = [found | {"operation": f"fresh_{at}", "age_s": None, "since": None} for at in range(8)]
    in_order(
        parsed(report | {"degraded": [*fresh, found]}).text, "A fallback answered", "3 d 4 h", "fresh_0", "more rows"
    )


def test_many_rows_unfold():
    page = parsed(report_examples.large(400))
    assert "more rows" in page.text
    assert page.text.count("model 'pilot' is unknown") == len(report_examples.large(400)["not_recovered"])


def test_the_policy_of_the_page_allows_its_own_style_and_script_and_no_network():
    page = html(report_examples.small())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert not re.search(r"\b(src|srcset|action|data)=|@import|url\(", page.partition('id="data"')[0])


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", " javascript:x", "file:///etc/passwd", "//x"]
)
def test_the_link_to_the_run_is_an_address_of_the_web_or_none(url):
    report = report_examples.small()
    report["run"]["url"] = url
    assert not [
        value for name, value in parsed(report).attributes if name == "href" and not value.startswith(("#", "data:,"))
    ]
    report["run"]["url"] = "https://prefect.example/runs/flow-run/0b9c"
    assert ("href", report["run"]["url"]) in parsed(report).attributes


texts = st.one_of(
    st.sampled_from(report_examples.HOSTILE),
    st.text(st.characters(codec=None, categories=None), max_size=40),
    st.lists(
        st.sampled_from([*"<>&\"'/=`-![]\\", "script", "style", "\u2028", "\x00", "\ud800", "a"]), max_size=12
    ).map("".join),
)


@settings(max_examples=50)
@given(st.lists(texts, min_size=4, max_size=12))
def test_no_text_of_a_report_becomes_markup(found):
    def write(old):
        return found[len(old) % len(found)]

    def plain(old):
        shown = for_terminal(write(old))  # which messages unfold depends on their lines and lengths
        return "".join("\n" if each == "\n" else "x" for each in shown)

    report = report_examples.small()
    hostile, harmless = (report_examples.with_texts(report, each) for each in (write, plain))
    for key in ("errors", "reasons"):  # equal texts are one key
        _one_entry(hostile, key), _one_entry(harmless, key)
    page = html(hostile)
    page.encode("utf-8")
    assert Parsed(page).elements == parsed(harmless).elements
    assert data_of(Parsed(page)) == _shown(hostile)


def _one_entry(part, key):
    """Leave one entry in each mapping from texts to counts, in place."""
    for name, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        if name == key and value:
            part[name] = dict(list(value.items())[:1])
        else:
            _one_entry(value, key)


def _shown(value):
    """Return a report with its texts as they are shown."""
    match value:
        case str():
            return for_terminal(value)
        case dict():
            return {for_terminal(name): _shown(each) for name, each in value.items()}
        case list():
            return [_shown(each) for each in value]
    return value


def test_the_report_of_a_run_is_such_a_page(drive, flaky, resilient_clock, resilient_events):
    from resilient_tasks import Retry, RunReport

    drive(flaky(ConnectionError("<refused>")), retry=Retry(attempts=2, wait=3))()
    drive(flaky(ConnectionError("down")), fallback=lambda *_: "stand-in")()
    with pytest.raises(KeyError):
        drive(flaky(KeyError("c<b>")), retry=3)()
    report = RunReport(resilient_events, run={"name": "a run"})
    page = Parsed(report.html())
    in_order(
        page.text, "flaky failed and was not recovered: KeyError", "'c<b>'", "A fallback answered.", "ConnectionError"
    )
    assert len(data_of(page)["timeline"]["calls"]) == 3
    assert ("th", "role", "scope") in page.elements


def test_the_report_is_not_changed():
    report = report_examples.small()
    before = copy.deepcopy(report)
    html(report)
    assert report == before


def _luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one, other):
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_each_colour_of_a_text_is_readable_by_day_and_in_the_dark():
    style = (files("resilient_tasks.observe.page") / "page.css").read_text(encoding="utf-8")
    themes = [dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in style.split(" color-scheme: ")[1:3]]
    assert [theme["page"] for theme in themes] == ["#ffffff", "#14181d"]
    for theme in themes:
        for name, colour in theme.items():
            if name not in {"page", "line", "pale", "warn", "warn-ink"}:
                assert min(_contrast(colour, theme[behind]) for behind in ("page", "pale")) >= 4.5, (name, colour)
        assert _contrast(theme["warn-ink"], theme["warn"]) >= 4.5
