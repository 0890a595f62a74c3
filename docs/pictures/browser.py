# ruff: noqa: INP001 - a script beside the pages, and no part of a package
"""Pictures of dynamic pages: a headless Chromium, driven by its DevTools protocol."""

import base64
import itertools
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

#: A closed network is left alone, and no state is kept.
_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0"),
)


class Browser:
    """One tab.

    Args:
        socket: the tab's connection for its debugger.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        #: Events that the browser has sent, of the domains that are enabled.
        self.events: list[dict[str, Any]] = []

    def open(self, url: str, *, width: int = 1280, height: int = 800, phone: bool = False) -> None:
        """Load a page in a window of this size, in CSS pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.send("Page.navigate", url=url)

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Wait until the page shows `text`.

        Raises:
            TimeoutError: it does not within `seconds`; the message holds what it shows.
        """
        ends = time.monotonic() + seconds
        while text not in (shown := self.text()):
            if time.monotonic() > ends:
                msg = f"the page never showed {text!r}, but:\n{shown}"
                raise TimeoutError(msg)
            time.sleep(0.2)

    def wait_until(self, script: str, seconds: float = 60) -> None:
        """Wait until an expression of JavaScript is true.

        Raises:
            TimeoutError: it is not within `seconds`; the message holds what the page shows.
        """
        ends = time.monotonic() + seconds
        while not self.run(script):
            if time.monotonic() > ends:
                msg = f"{script} was never true, but the page shows:\n{self.text()}"
                raise TimeoutError(msg)
            time.sleep(0.2)

    def text(self) -> str:
        """Return the text that the page shows."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def run(self, script: str) -> Any:
        """Evaluate an expression of JavaScript and return its value."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    def take(self, path: Path, *, settle: float = 1.0, whole: bool = False) -> None:
        """Write a picture of the window, or of the whole page, after `settle` seconds for animations."""
        time.sleep(settle)
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def press(self, selector: str) -> None:
        """Click in the middle of the first element that matches a CSS selector.

        Raises:
            LookupError: there is none that can be seen.
        """
        script = f"""(() => {{
            const found = document.querySelector({json.dumps(selector)});
            if (!found || !found.getClientRects().length) return null;
            found.scrollIntoView({{block: "center"}});
            const box = found.getClientRects()[0];
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
        if (place := self.run(script)) is None:
            raise LookupError(f"the page shows no {selector}")
        self.mouse("mousePressed", *place, button="left", clickCount=1)
        self.mouse("mouseReleased", *place, button="left", clickCount=1)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Send an event of the mouse at a point of the window: `mouseMoved`, `mousePressed`, `mouseWheel`."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def key(self, key: str, text: str = "") -> None:
        """Press a key and release it; `text` is what it writes."""
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, text=text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def send(self, method: str, **params: Any) -> Any:
        """Send a command of the DevTools protocol, and return its result.

        Raises:
            RuntimeError: the browser refused it.
        """
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if "id" not in answer:
                self.events.append(answer)
            elif answer["id"] == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]


@contextmanager
def browser(program: str = "chromium") -> Iterator[Browser]:
    """Start a browser with a temporary profile, and end it."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        try:
            with connect(_tab(Path(profile)), max_size=None, proxy=None) as socket:
                yield Browser(socket)
        finally:
            running.terminate()
            running.wait(timeout=30)


def _tab(profile: Path) -> str:
    """Return the address of the first tab's debugger, once the browser has written its port."""
    import httpx  # noqa: PLC0415

    written = profile / "DevToolsActivePort"
    ends = time.monotonic() + 60
    while not written.exists() or not (lines := written.read_text().split()):
        if time.monotonic() > ends:
            raise TimeoutError("the browser did not start")
        time.sleep(0.1)
    pages = httpx.get(f"http://127.0.0.1:{lines[0]}/json", trust_env=False).json()
    return next(str(page["webSocketDebuggerUrl"]) for page in pages if page["type"] == "page")
