"""A degraded run does not look like any other in Prefect's list of runs: opened and filtered in a real Chromium."""

import contextvars
import importlib.util
import shutil
import socket
import threading
from pathlib import Path

import pytest
import uvicorn
from prefect import flow, tags

from resilient_tasks import Fallback, resilient_task

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium is installed")

#: Chooses a tag in the list's filter, if it is offered.
CHOOSE = """((tag) => {
    const choice = document.querySelector('.p-tags-input select');
    const option = choice && [...choice.options].find(option => option.value === tag);
    if (!option) return false;
    option.selected = true;
    choice.dispatchEvent(new Event('change', {bubbles: true}));
    return true;
})('%s')"""


@resilient_task(fallback=Fallback(value=["last month's"]))
def fetch_flights():
    raise ConnectionError("refused")


@resilient_task
def fetch_planes():
    return ["N10156"]


@resilient_task
def train_model(rows):
    return len(rows)


@pytest.fixture(scope="module")
def address(resilient_prefect):
    """The address of Prefect's UI, as `prefect server start` serves it, for the tests' server, which has none."""
    from prefect.server.api.server import create_ui_app
    from prefect.settings import PREFECT_UI_API_URL, PREFECT_UI_ENABLED, temporary_settings

    with (
        socket.socket() as bound,
        temporary_settings({PREFECT_UI_ENABLED: True, PREFECT_UI_API_URL: resilient_prefect}),
    ):
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(create_ui_app(ephemeral=False), log_level="error", lifespan="off"))
        running = threading.Thread(target=contextvars.copy_context().run, args=(server.run, [bound]), daemon=True)
        running.start()
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
        server.should_exit = True
        running.join(30)


@pytest.fixture(scope="module")
def seen(resilient_prefect):
    """A browser, while the server has the runs of two plain flows."""
    with tags("in-a-browser"):
        flow(name="all-is-well")(lambda: train_model(fetch_planes()))()
        flow(name="on-old-flights")(lambda: train_model(fetch_flights()))()
    folder = Path(__file__).parents[2] / "docs" / "pictures"
    spec = importlib.util.spec_from_file_location("browser", folder / "browser.py")
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    with pictures.browser(PROGRAM) as tab:
        yield tab


@pytest.mark.parametrize(("width", "phone"), [(1280, False), (390, True)], ids=["desktop", "phone"])
def test_the_list_of_runs_shows_the_tag_and_its_filter_takes_it(seen, address, width, phone):
    seen.open(f"{address}/runs?tag=in-a-browser", width=width, height=2000, phone=phone)
    seen.wait_for("all-is-well\n", 15)
    seen.wait_for("on-old-flights\n")
    seen.wait_until(CHOOSE % "degraded")
    seen.wait_until("document.body.innerText.includes('1 run\\n')")
    _, row = seen.text().split("\non-old-flights\n")[-2:]
    assert row.split("\n")[1:3] == ["degraded", "degraded-input"]


def test_the_list_of_task_runs_finds_what_was_computed_from_it(seen, address):
    seen.open(f"{address}/runs?tab=task-runs&tag=in-a-browser")
    seen.wait_for("fetch_planes-")
    seen.wait_until(CHOOSE % "degraded-input")
    seen.wait_until("!document.body.innerText.includes('fetch_planes-')")
    assert seen.text().count("train_model-") == 1
    assert "fetch_flights-" not in seen.text()
