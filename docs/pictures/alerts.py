# ruff: noqa: INP001 - a script beside the pages, and no part of a package
"""Pictures of an incident in Slack: the first message, a digest, and the recovery.

    python docs/pictures/alerts.py [--cooldown 60] [--folder docs/images] [--browser chromium]

Three flows run on a Prefect server of their own and fetch from an API that is down, until it is not. Their alerts go to
the fake Slack, and the pictures show what that received. Nothing is staged: the incident lasts as long as it says. The
pictures are taken by a Chromium without a window.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from PIL import Image
from slack_page import page

from resilient_tasks import configure
from resilient_tasks.testing import FakeSlack, FaultyServer, SlackMessage, Status, flush_messages

CHANNEL = "#ml-alerts"
Stages = dict[str, list[SlackMessage]]


def incident(cooldown: float) -> Stages:
    """Run three flows while the API is down and after it recovers; return the channel's messages at each stage."""
    with _surroundings() as (slack, api, down):
        from flights import backfill, features, retrain  # noqa: PLC0415 - which read their surroundings

        configure(notify_cooldown=cooldown)
        down.append(Status(503))
        began = time.monotonic()
        retrain(1)
        stages = {"first": _sent(slack, 1)}
        for flow, months in ((retrain, 12), (features, 7), (backfill, 24)):
            flow(months)
        time.sleep(max(0.0, began + cooldown - time.monotonic()))
        stages["digest"] = _sent(slack, 2)
        down.clear()
        features(1)
        stages["recovered"] = _sent(slack, 3)
        say(f"{len(api.requests)} requests, {len(stages['recovered'])} messages")
        return stages


@contextmanager
def _surroundings() -> Iterator[tuple[FakeSlack, FaultyServer, list[Status]]]:
    """Start the servers of the flows, and put their addresses into the environment."""
    down: list[Status] = []
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        slack = stack.enter_context(FakeSlack(channels=[CHANNEL]))
        api = stack.enter_context(FaultyServer(schedule=lambda _: down[0] if down else None))
        api.serve("/flights", '[{"carrier": "UA"}]')
        os.environ |= {"SLACK_API_URL": slack.api_url, "SLACK_BOT_TOKEN": slack.token, "FLIGHTS_API": api.url}
        os.environ |= {"PREFECT_HOME": home, "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "RESILIENT_TASKS_HOME": home}
        os.environ |= {"PREFECT_LOGGING_LEVEL": "CRITICAL"}
        from prefect.testing.utilities import prefect_test_harness  # noqa: PLC0415 - which reads the environment

        stack.enter_context(prefect_test_harness(server_startup_timeout=120))
        yield slack, api, down


def _sent(slack: FakeSlack, number: int) -> list[SlackMessage]:
    """Wait until this many messages have arrived, for a minute at most."""
    until = time.monotonic() + 60
    while len(slack.messages) < number:
        flush_messages(1)
        if time.monotonic() > until:
            msg = f"{len(slack.messages)} messages came, not {number}"
            raise TimeoutError(msg)
    return slack.messages


def photograph(markup: str, file: Path, browser: str) -> None:
    """Take a picture of a page in its full height, enlarged."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "page.html"
        measure = "<script>document.title = document.body.scrollHeight</script>"
        source.write_text(markup + measure, encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
        command += [f"--user-data-dir={folder}/profile", "--force-device-scale-factor=1.5"]

        def draw(height: int, *what: str) -> str:
            call = [*command, f"--window-size=720,{height}", *what, source.as_uri()]
            return subprocess.run(call, check=True, capture_output=True, text=True, timeout=120).stdout  # noqa: S603

        found = re.search(r"<title>(\d+)</title>", draw(2000, "--dump-dom"))
        if found is None:
            raise RuntimeError(f"{browser} did not say how high the page is")
        draw(int(found[1]) + 8, f"--screenshot={file.resolve()}")
    with Image.open(file) as picture:
        few_colours = picture.convert("RGB").quantize(64)
    few_colours.save(file, optimize=True)


def say(line: str) -> None:
    """Print progress."""
    sys.stdout.write(line + "\n")


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cooldown", type=float, default=60.0, help="seconds until the digest")
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    parser.add_argument("--browser", default=shutil.which("chromium") or shutil.which("google-chrome"))
    chosen = parser.parse_args()
    if chosen.browser is None:
        parser.error("no Chromium is installed here: give --browser")
    for stage, messages in incident(chosen.cooldown).items():
        file = chosen.folder / f"alert_{stage}.png"
        photograph(page(messages, CHANNEL), file, chosen.browser)
        say(f"{file}: {file.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
