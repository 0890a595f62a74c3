"""One Chromium for a file of tests; it has no network."""

import importlib.util
import shutil
from pathlib import Path

import pytest

DRIVER = Path(__file__).parents[3] / "docs" / "pictures" / "browser.py"


@pytest.fixture(scope="module")
def chromium():
    """Start a browser without network, and end it."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium, which is not installed")
    spec = importlib.util.spec_from_file_location("browser_of_the_pictures", DRIVER)
    driver = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(driver)
    with driver.browser(program) as started:
        for domain in ("Network", "Page", "Runtime", "Log"):
            started.send(f"{domain}.enable")
        started.send(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0
        )
        yield started
