"""What a message says."""

from resilient_tasks import Console
from resilient_tasks.notify.message import Channel, Message
from resilient_tasks.notify.slack import blocks

MESSAGE = Message(
    operation="fetch_month",
    status="failed",
    kind="transient",
    error_type="ConnectError",
    error="refused",
    notes=("gave up after attempt 3",),
    consequence="What depends on it does not run.",
    run={"flow_run_id": "f-1", "url": "http://127.0.0.1/runs/f-1"},
)


def test_the_headline_says_what_happened():
    assert MESSAGE.headline() == "fetch_month failed: ConnectError"


def test_the_text_has_a_line_for_each_thing_known():
    assert MESSAGE.text().splitlines() == [
        "fetch_month failed: ConnectError",
        "refused",
        "gave up after attempt 3",
        "What depends on it does not run.",
        "http://127.0.0.1/runs/f-1",
    ]
    bare = Message(operation="f", status="degraded", kind="timeout", error_type="TimedOut", error="")
    assert bare.text() == "f degraded: TimedOut"


def test_the_console_writes_to_standard_error(capsys):
    console = Console()
    console.send(MESSAGE, within=1)
    assert capsys.readouterr().err.startswith("[alert] fetch_month failed: ConnectError\nrefused\n")
    assert isinstance(console, Channel)
    assert console.name == "console"


def test_slacks_blocks_name_the_error_the_consequence_and_the_run():
    header, section, context = blocks(MESSAGE)
    assert header["text"]["text"] == "🔴 fetch_month failed"
    for part in ("*ConnectError* (transient)", "```refused```", "• gave up after attempt 3", "does not run"):
        assert part in section["text"]["text"]
    assert context["elements"][0]["text"] == "<http://127.0.0.1/runs/f-1|Open the run> · flow_run_id `f-1`"


def test_slacks_blocks_stay_within_its_limits():
    long = Message("f" * 500, "degraded", "timeout", "TimedOut", "x" * 9000, notes=("n" * 9000,) * 3)
    header, section = blocks(long)
    assert header["text"]["text"].startswith("🟠 ")
    assert len(header["text"]["text"]) <= 150
    assert len(section["text"]["text"]) <= 3000


def test_what_an_error_says_is_not_read_as_slacks_markup():
    message = Message("f", "failed", "permanent", "E", "<!channel> & ```code```")
    text = blocks(message)[1]["text"]["text"]
    assert "&lt;!channel&gt; &amp; '''code'''" in text


def test_an_error_without_a_text_is_no_empty_box():
    assert "``````" not in blocks(Message("f", "failed", "permanent", "E", ""))[1]["text"]["text"]
