"""The page in a real browser, without network: what it shows, the time line, the filters, the phone, the dark."""

import time

import pytest
import report_examples

from resilient_tasks.observe.page import html

BAR = 'document.querySelector(".scroller canvas")'


@pytest.fixture
def opened(chromium, tmp_path):
    """`opened(report, width=…)` opens a page; afterwards, no request has left, and nothing was refused or raised."""

    def opens(report, *, width=1280, dark=False, script=True):
        page = tmp_path / "report.html"
        page.write_text(html(report), encoding="utf-8")
        chromium.send("Emulation.setEmulatedMedia", features=[_theme(dark=dark)])
        chromium.send("Emulation.setScriptExecutionDisabled", value=not script)
        chromium.open(page.as_uri(), width=width, height=900, phone=width < 700)
        wait_for(chromium, f"document.readyState == 'complete' && location.href == '{page.as_uri()}'")
        return chromium

    opens.refuses = False
    chromium.events.clear()
    yield opens
    chromium.send("Emulation.setScriptExecutionDisabled", value=False)
    if opens.refuses:
        return
    asked = [event["request"]["url"] for event in _events(chromium, "Network.requestWillBeSent")]
    assert asked
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert _events(chromium, "Runtime.exceptionThrown") == []
    assert [event for event in _events(chromium, "Log.entryAdded") if event["entry"]["level"] == "error"] == []


def _events(browser, name):
    return [event["params"] for event in browser.events if event["method"] == name]


def _theme(*, dark):
    return {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}


def wait_for(browser, expression):
    """Wait until an expression of JavaScript is true."""
    ends = time.monotonic() + 60
    while not (found := browser.run(expression)):
        assert time.monotonic() < ends, (expression, found)
        time.sleep(0.02)


def shown(browser):
    """Return the line that says which calls and times are in view, once it is drawn."""
    frames = "new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))"
    return browser.run(f"{frames}.then(() => document.getElementById('shown').textContent)")


def clock_of(said):
    return said.partition(", ")[2]


def chosen(browser):
    """Return the text about the chosen call; None if there is none."""
    return browser.run("(({hidden, innerText}) => hidden ? null : innerText)(document.querySelector('#chart .call'))")


def point(browser, share, y):
    """Return the place of a point of the time line in the window, from its share of the width and its height."""
    browser.run(f"{BAR}.scrollIntoView({{block: 'center'}})")
    box = browser.run(f"(({{x, y, width}}) => [x, y, width])({BAR}.getBoundingClientRect())")
    return box[0] + box[2] * share, box[1] + y


def fits(browser, width):
    # A phone shows a page that is wider smaller, in a window of that width.
    return browser.run("[document.documentElement.scrollWidth, innerWidth]") == [width, width]


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["by day", "in the dark"])
def test_the_first_screen_says_what_went_wrong(opened, width, dark):
    page = opened(report_examples.small(), width=width, dark=dark)
    first = page.run("""[...document.querySelectorAll('h1, #failed td, #failed th')].filter(
        (each) => each.getBoundingClientRect().bottom < 844).map((each) => each.innerText).join('\\n')""")
    for part in ("publish failed and was not recovered: HTTP 422", "model 'pilot' is unknown", "HTTP 422 is permanent"):
        assert part in first
    assert page.run("getComputedStyle(document.body).backgroundColor") == (
        "rgb(20, 24, 29)" if dark else "rgb(255, 255, 255)"
    )
    assert fits(page, width)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("make", [report_examples.empty, lambda: report_examples.large(300)], ids=["empty", "long"])
def test_no_page_is_wider_than_its_window(opened, width, make):
    page = opened(make(), width=width)
    page.run("for (const each of document.querySelectorAll('details')) each.open = true")
    assert fits(page, width)


def test_buttons_keys_and_the_wheel_zoom_and_pan(opened):
    page = opened(report_examples.small())
    whole = shown(page)
    assert whole == "5 of 5 calls, 12:03:07 to 12:04:12"
    page.press("[aria-label='Zoom in']")
    zoomed = shown(page)
    assert zoomed == "4 of 5 calls, 12:03:18 to 12:04:00"
    page.press("[aria-label='Later']")
    assert clock_of(shown(page)) > clock_of(zoomed)
    page.run(f"{BAR}.focus()")
    page.key("0", "0")
    assert shown(page) == whole
    page.key("+", "+")
    assert shown(page) == zoomed
    page.key("Escape")
    assert shown(page) == whole
    x, y = point(page, 0.01, 60)
    page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-300)
    wait_for(page, f"document.getElementById('shown').textContent != '{whole}'")
    assert " calls, 12:03:07 to 12:03:4" in shown(page), "the time under the pointer stays there"


def test_a_drag_pans_and_chooses_nothing(opened):
    page = opened(report_examples.small())
    page.press("[aria-label='Zoom in']")
    before = shown(page)
    x, y = point(page, 0.5, 100)
    page.mouse("mousePressed", x, y, button="left", clickCount=1)
    for step in range(1, 6):
        page.mouse("mouseMoved", x - 40 * step, y, button="left", buttons=1)
    page.mouse("mouseReleased", x - 200, y, button="left", clickCount=1)
    assert clock_of(shown(page)) > clock_of(before)
    assert chosen(page) is None


def test_two_fingers_zoom(opened):
    page = opened(report_examples.small(), width=390)
    whole = shown(page)
    x, y = point(page, 0.5, 100)
    for distance in (20, 40, 60, 90, 120):
        fingers = [{"x": x - distance, "y": y, "id": 1}, {"x": x + distance, "y": y, "id": 2}]
        page.send("Input.dispatchTouchEvent", type="touchStart" if distance == 20 else "touchMove", touchPoints=fingers)
    page.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    wait_for(page, f"document.getElementById('shown').textContent != '{whole}'")
    assert page.run("visualViewport.scale") == 1, "the page itself stays as it is"


def test_pointing_at_an_attempt_shows_its_error_and_a_click_the_whole_call(opened):
    page = opened(report_examples.small())
    x, y = point(page, 0.06, 167)  # the first attempt of fetch_month
    page.mouse("mouseMoved", x, y)
    tip = "document.querySelector('.tip:not([hidden])')?.innerText"
    wait_for(page, tip)
    assert page.run(tip) == "fetch_month, recovered · attempt 1: failed after 2.0 s: HTTP 503: try again"
    page.mouse("mousePressed", x, y, button="left", clickCount=1)
    page.mouse("mouseReleased", x, y, button="left", clickCount=1)
    for part in (
        "fetch_month: recovered",
        "timeout after 10.0 s: TimedOut: 10 s",
        "42 of 27,004 rows",
        "fetch_month-a3f",
    ):
        assert part in chosen(page)


@pytest.mark.parametrize("width", [1280, 390])
def test_a_row_of_a_table_leads_to_its_call_in_the_time_line(opened, width):
    page = opened(report_examples.small(), width=width)
    page.press("#failed tbody tr td:nth-child(2)")
    assert chosen(page).splitlines()[0].endswith("publish: failed, 12:04:10, 1.0 s")
    assert shown(page).startswith("1 of 5 calls, 12:04:09.6 to 12:04:11.4")
    assert page.run(f"{BAR}.getBoundingClientRect().top") > 0
    assert page.run("document.querySelector('#chart .call').getBoundingClientRect().bottom") < 844
    assert page.run(f"document.activeElement === {BAR}")


def test_a_link_of_a_table_works_with_the_keyboard(opened):
    page = opened(report_examples.small())
    page.run("document.querySelector('#degraded a').focus()")
    page.key("Enter", "\r")
    wait_for(page, "!document.querySelector('#chart .call').hidden")
    assert "fetch_planes: degraded" in chosen(page)
    page.key("ArrowDown")
    assert "fetch_month: recovered" in chosen(page)


def test_filters_by_outcome_operation_and_text(opened):
    page = opened(report_examples.small())
    rows = "[...document.querySelectorAll('#calls tbody tr:not([hidden]) th')].map((each) => each.innerText)"
    page.run("document.getElementById('calls').open = true")
    page.press("[data-outcome=recovered]")
    assert shown(page).startswith("3 of 5 calls")
    assert page.run("document.querySelector('[data-outcome=recovered]').getAttribute('aria-pressed')") == "false"
    assert page.run(rows) == ["publish", "fetch_planes", "train"]
    page.press("[data-outcome=recovered]")
    page.press("#chart input")
    page.send("Input.insertText", text="TRY again")
    assert shown(page).startswith("1 of 5 calls")
    assert page.run(rows) == ["fetch_month"]
    page.run(f"{BAR}.focus()")
    page.key("Escape")
    page.press("#operations tbody tr:nth-child(3) td:nth-child(2)")
    assert shown(page).startswith("2 of 5 calls")
    assert page.run("document.querySelector('#chart select').value") == "fetch_month"


def test_a_row_whose_call_is_filtered_away_ends_the_filter(opened):
    page = opened(report_examples.small())
    page.press("[data-outcome=failed]")
    assert shown(page).startswith("4 of 5")
    page.press("#failed tbody tr td")
    assert "publish: failed" in chosen(page)
    assert page.run("document.querySelector('[data-outcome=failed]').getAttribute('aria-pressed')") == "true"


def test_the_outcomes_are_drawn_in_different_patterns(opened):
    page = opened(report_examples.small())
    shown(page)
    inked = page.run(f"""(() => {{
        const pen = {BAR}.getContext('2d'), width = {BAR}.clientWidth;
        const line = (from, to, y) => {{
            const dots = pen.getImageData(from * width, y, (to - from) * width, 1).data, found = new Set();
            for (let at = 0; at < dots.length; at += 4) found.add(dots.slice(at, at + 3).join());
            return found.size;
        }};
        return {{ok: line(0.45, 0.9, 221), timeout: line(0.1, 0.2, 167)}};
    }})()""")
    assert inked["ok"] == 1, "full"
    assert inked["timeout"] > 1, "striped"


def test_two_thousand_calls_are_drawn_in_a_fraction_of_a_second(opened):
    page = opened(report_examples.large())
    assert shown(page).startswith("2000 of 2000 calls")
    page.run(f"{BAR}.focus()")
    for _ in range(10):
        page.key("+", "+")
    assert not shown(page).startswith("2000 of")
    page.press("#failed tbody tr td")
    assert ": failed," in chosen(page)


def test_a_report_without_any_time_has_no_call_in_the_time_line_and_all_in_the_table(opened):
    page = opened(report_examples.without_times(report_examples.small()))
    assert shown(page).startswith("0 of 5 calls")
    page.press("#calls summary")
    assert "attempt 2: timeout: TimedOut: 10 s" in page.text()


def test_attempts_without_a_start_follow_what_came_before(opened):
    report = report_examples.small()
    for attempt in report["timeline"]["calls"][2]["attempts"]:
        attempt["started"] = None
    page = opened(report)
    page.press("#recovered tbody td")
    assert "fetch_month: recovered, 12:03:10, 18.0 s" in chosen(page)
    assert "attempt 2: timeout after 10.0 s" in chosen(page)


@pytest.mark.parametrize("text", report_examples.HOSTILE)
def test_no_text_of_a_report_runs_or_widens_the_page(opened, text):
    page = opened(report_examples.with_texts(report_examples.small(), lambda _: text), width=390)
    assert shown(page).startswith("5 of 5 calls"), "the page's own script runs"
    page.press("#failed tbody tr td")
    x, y = point(page, 0.5, 60)
    page.mouse("mouseMoved", x, y)
    assert page.run("typeof window.owned") == "undefined"
    assert page.run("document.querySelectorAll('img, main script, svg').length") == 0
    assert fits(page, 390)


def test_the_policy_of_the_page_refuses_whatever_would_leave_it(opened):
    page = opened(report_examples.small())
    refused = page.run("""(async () => {
        const found = [];
        document.addEventListener('securitypolicyviolation', (event) => found.push(event.effectiveDirective));
        await fetch('http://127.0.0.1:9/').catch(() => 0);
        for (const [tag, name] of [['img', 'src'], ['script', 'src'], ['iframe', 'src']]) {
            const made = document.createElement(tag);
            made[name] = 'http://127.0.0.1:9/';
            document.body.append(made);
        }
        const inline = document.createElement('script');
        inline.textContent = 'window.owned = 9';
        document.body.append(inline);
        await new Promise((done) => setTimeout(done, 50));
        return [...found.sort(), typeof window.owned];
    })()""")
    opened.refuses = True
    assert refused == ["connect-src", "frame-src", "img-src", "script-src-elem", "script-src-elem", "undefined"]


def test_what_can_be_operated_has_a_name_and_each_id_is_there_once(opened):
    page = opened(report_examples.small())
    shown(page)
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    found = [(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes if not node["ignored"]]
    operated = [
        pair for pair in found if pair[0] in {"button", "link", "combobox", "searchbox", "application", "table"}
    ]
    assert len(operated) > 20
    assert [pair for pair in operated if not pair[1]] == []
    ids = page.run("[...document.querySelectorAll('[id]')].map((each) => each.id)")
    assert len(ids) == len(set(ids))


def test_on_a_phone_a_card_is_still_a_row_of_a_table(opened):
    page = opened(report_examples.small(), width=390)
    nodes = page.send("Accessibility.getFullAXTree")["nodes"]
    roles = [node["role"]["value"] for node in nodes if not node["ignored"]]
    assert roles.count("table") >= 8
    assert {"row", "rowheader", "cell", "columnheader"} <= set(roles)


def test_without_script_everything_but_the_time_line_is_there(opened):
    page = opened(report_examples.small(), script=False)
    said = page.text()
    for part in (
        "publish failed and was not recovered: HTTP 422",
        "needs JavaScript",
        "last good result",
        "3 of 5 calls failed",
    ):
        assert part in said
    page.press("#calls summary")
    wait_for(page, "document.body.innerText.includes('attempt 2: timeout after 10.0 s: TimedOut: 10 s')")
    assert page.run("document.getElementById('chart').hidden")


def test_print_shows_every_row(opened):
    page = opened(report_examples.large(400))
    page.send("Emulation.setEmulatedMedia", media="print", features=[_theme(dark=True)])
    assert page.run("getComputedStyle(document.documentElement).getPropertyValue('--page')") == "#ffffff"
    assert page.run("getComputedStyle(document.querySelector('.bar')).display") == "none"
    assert page.run("[...document.querySelectorAll('#failed tbody tr')].every((each) => each.checkVisibility())")
    page.send("Emulation.setEmulatedMedia", media="", features=[])
