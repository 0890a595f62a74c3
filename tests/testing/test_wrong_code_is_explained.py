"""For each fixture: a user's wrong code fails with a message that says why, and right code passes."""

import re
import subprocess
import sys

import pytest

SETUP = """
import httpx, pytest
from resilient_tasks import Email, Fallback, Retry, Slack, resilient
from resilient_tasks.testing import flush_messages

def fetch(url):
    return httpx.get(url, trust_env=False, verify=False, timeout=20).raise_for_status().json()
"""

#: The fixture, the body of a test that is right, of one that is wrong, and what the latter's report says.
CASES = {
    "resilient_clock": (
        """
        calls = iter([ConnectionError(), 1])
        def flaky():
            if isinstance(value := next(calls), Exception): raise value
            return value
        assert resilient(retry=Retry(wait={wait}))(flaky)() == 1
        assert resilient_clock.waits == [10]
        """,
        {"wait": "10"},
        {"wait": "20"},
        r"\[20(\.0)?\] == \[10\]",
    ),
    "resilient_events": (
        """
        resilient(retry=Retry(attempts={attempts}, wait=0))(fetch).outcome("http://127.0.0.1:1/")
        assert resilient_events.retries("fetch") == 2
        """,
        {"attempts": "3"},
        {"attempts": "2"},
        r"assert 1 \(fetch: attempt 1 of 2: ConnectError.*gave up.*\) == 2",
    ),
    "resilient_api": (
        """
        resilient_api.serve("/flights", [1])
        resilient_api.down()
        assert resilient(retry=Retry(attempts={attempts}, wait=0))(fetch)(resilient_api.url + "/flights") == [1]
        """,
        {"attempts": "2"},
        {"attempts": "1"},
        r"503 Service Unavailable",
    ),
    "resilient_slack": (
        """
        {before}
        resilient(notify=Slack(webhook=resilient_slack.webhook_url))(fetch).outcome("http://127.0.0.1:1/")
        {after}
        assert "fetch failed" in resilient_slack.message().full_text
        """,
        {"before": "pass", "after": "flush_messages()"},
        {"before": "resilient_slack.hangs(60)", "after": "pass  # the sender's thread may be faster than this one"},
        r"nothing was received; 1 message not sent yet: call flush_messages\(\) first",
    ),
    "resilient_smtp": (
        """
        resilient(notify=Email("ops@example.org", **resilient_smtp.starttls))(fetch).outcome("http://127.0.0.1:1/")
        flush_messages()
        assert resilient_smtp.message("{text}").recipients == ("ops@example.org",)
        """,
        {"text": "fetch failed"},
        {"text": "recovered"},
        r"0 messages containing 'recovered', not one; received: 'fetch failed",
    ),
    "resilient_proxy": (
        """
        from resilient_tasks.testing import FaultyServer
        with FaultyServer() as server:
            server.serve("/", [1])
            proxy = resilient_proxy(server.port)
            with proxy.offline():
                {inside}
            assert fetch(f"http://127.0.0.1:{{proxy.port}}/") == [1]
        """,
        {"inside": "assert resilient(fetch).outcome(f'http://127.0.0.1:{proxy.port}/').error"},
        {"inside": "fetch(f'http://127.0.0.1:{proxy.port}/')"},
        r"ConnectError.*refused",
    ),
    "resilient_bucket": (
        """
        import pandas as pd
        save = resilient({policies})(lambda: pd.DataFrame({{"n": [1]}}).to_csv(resilient_bucket.url + "/n.csv"))
        with resilient_bucket.full():
            save()
        """,
        {"policies": "fallback=Fallback(value=None, on=OSError)"},
        {"policies": "retry=2"},
        r"No space left on device",
    ),
}


def body_of(template, options):
    lines = [line[8:] for line in template.strip("\n").splitlines()]
    return "".join(f"    {line}\n" for line in "\n".join(lines).format(**options).splitlines())


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The output of one session of pytest with all right and wrong tests."""
    pytest.importorskip("aiosmtpd")
    folder = tmp_path_factory.mktemp("suite")
    source = SETUP
    for fixture, (template, right, wrong, _) in CASES.items():
        for kind, options in (("right", right), ("wrong", wrong)):
            body = body_of(template, options)
            source += f"\n@pytest.mark.filterwarnings('ignore')\ndef test_{fixture}_{kind}({fixture}):\n{body}"
    (folder / "test_users_code.py").write_text(source)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null",
        "--rootdir",
        str(folder),
        str(folder),
    ]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300, cwd=folder).stdout


@pytest.mark.parametrize("fixture", CASES)
def test_wrong_code_fails_with_its_reason_and_right_code_passes(report, fixture):
    assert f"{len(CASES)} failed, {len(CASES)} passed" in report, report
    section = re.search(rf"_ test_{fixture}_wrong _.*?(?=\n_+ test_|\n=+ short)", report, re.DOTALL)
    assert re.search(CASES[fixture][3], section[0], re.DOTALL), section[0]
