"""A reader of docs/tutorial.md, who types what it shows into an empty folder, and keeps what is printed."""

import os
import re
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import tutorial_page as page

import resilient_tasks

sys.path.insert(0, str(Path(__file__).parents[1]))
import prefect_database  # needs that path

PATIENCE = 300
BATCH = r"\b[0-9a-f]{8}-[0-9a-f]+-\d+-result"
#: The page's own way to an installed package; a test has one.
INSTALLING = ("python3 -m venv ", ". .venv-tutorial/", "pip install . pytest", "mkdir ", "cd ")


class Typed(NamedTuple):
    """A command of the page: what the page shows below it, and what was printed."""

    command: str
    shown: list[str]
    printed: str
    code: int | None


class Reader:
    """Follows the page from its first block to its last."""

    def __init__(self, folder):
        self.folder = folder
        self.files = {}
        self.typed = []
        self.batch = {}
        self.running = []
        self.ports = {"8765": _free_port(), "4200": _free_port()}
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "RESILIENT_TASKS_", "PYTEST_"))}
        mine = {"HOME": str(folder / "home"), "COLUMNS": "120"}
        mine |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}
        mine |= {"PYTEST_ADDOPTS": "-p prefect_database"}  # the server of the reader's test starts with it, too
        path = (
            str(Path(resilient_tasks.__file__).parents[1]),
            str(Path(prefect_database.__file__).parent),
            os.environ.get("PYTHONPATH"),
        )
        mine |= {"PYTHONPATH": os.pathsep.join(filter(None, path))}
        self.env = kept | mine
        prefect_database.put_into(folder / "home" / ".prefect")

    def follow(self, text):
        """Type the whole page."""
        for paragraph in re.split(r"(?m)^(?=```\w)|(?<=^```\n)", text):
            changed = re.search(r"In `([\w.]+)`, change `(.+?)` to `(.+?)`", paragraph)
            if changed:
                self.change(*changed.groups())
            for block in page.blocks(paragraph):
                if block.file:
                    self.write(block)
                elif block.language == "console":
                    for command in block.commands():
                        self.type(*command)

    def write(self, block):
        """Put a block into its file."""
        before = self.files.get(block.file, "")
        self.files[block.file] = page.put_in(before, block.text) if before else block.text
        (self.folder / block.file).write_text(self.here(self.files[block.file]))

    def change(self, name, old, new):
        """Correct a file as the page says."""
        file = self.folder / name
        before = file.read_text()
        assert before.count(old) == 1, f"{name} should hold {old} once:\n{before}"
        file.write_text(before.replace(old, new))

    def type(self, command, remark, shown):
        """Run a command, or start it where the page says to leave it running."""
        if command.startswith(INSTALLING):
            return
        if command.startswith("export "):
            name, _, value = self.here(command).removeprefix("export ").partition("=")
            self.env[name] = value
            return
        program, *words = shlex.split(self.here(command))
        where = Path(sys.executable).parent / program
        words = [sys.executable if program == "python" else str(where), *words]
        if "leave it running" in remark:
            words += ["--port", self.ports["4200"]] if words[-2:] == ["server", "start"] else []
            started = Running(words, self.folder, self.env)
            self.running.append(started)
            printed, code = started.until(next(line for line in shown if line != "..."), self.there), None
            if "server" in words:
                self.await_the_server()
        else:
            done = subprocess.run(
                words,
                cwd=self.folder,
                env=self.env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            printed, code = self.there(done.stdout), done.returncode
        self.learn_the_batch(shown, printed)
        self.typed.append(Typed(command, shown, printed, code))

    def await_the_server(self):
        """Wait until Prefect's API answers; a person has a file to write meanwhile."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                urlopen(f"http://127.0.0.1:{self.ports['4200']}/api/health").close()
            except OSError:
                assert time.monotonic() < until, f"the server does not answer: {self.running[-1].printed}"
                time.sleep(0.2)
            else:
                return

    def learn_the_batch(self, shown, printed):
        """Note which id the batch of the page has here: a reader copies it from the list."""
        pattern = re.compile(rf"(?m)^({BATCH}) ")
        of_page, here = pattern.search("\n".join(shown)), pattern.search(printed)
        if of_page and here and not self.batch:
            self.batch = {of_page[1]: here[1]}

    def here(self, text):
        """Turn the page's ports and ids into those of this machine."""
        for its, ours in {**self.ports, **self.batch}.items():
            text = text.replace(its, ours)
        return text

    def there(self, text):
        """Turn this machine's ports into those of the page."""
        for its, ours in self.ports.items():
            text = text.replace(ours, its)
        return text

    def stop(self):
        """End what was left running, the last first."""
        for process in reversed(self.running):
            process.stop()


class Running:
    """A command in a terminal of its own."""

    def __init__(self, words, folder, env):
        self.process = subprocess.Popen(
            words, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        self.printed = ""
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self):
        for line in self.process.stdout:
            self.printed += line

    def until(self, line, there=str):
        """Wait until a line was printed, and return all that was."""
        until = time.monotonic() + PATIENCE
        while masked(line) not in masked(there(self.printed)):
            assert self.process.poll() is None, f"it ended: {self.printed}"
            assert time.monotonic() < until, f"no line {line!r} in: {self.printed}"
            time.sleep(0.1)
        return there(self.printed)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reading.join(10)
        self.process.stdout.close()


def masked(text):
    """Return a text without what differs from run to run: times, ids, names of runs, and widths of columns."""
    for pattern, instead in (
        (r"\x1b\[[0-9;]*m", ""),
        (r"\d\d:\d\d:\d\d\.\d{3}", "TIME"),
        (r"\d{4}-\d\d-\d\d/", "DAY/"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(\+00:00|Z)?", "WHEN"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"),
        (r"(fetch_\w+)-[0-9a-f]{3}\b", r"\1-ID"),
        (r"(?i)(flow run) '[a-z]+-[a-z]+'", r"\1 NAME"),
        (r"waits \d+\.\d s", "waits S"),
        (r"in \d+\.\d\ds( \([\d:]+\))?", "in S"),
        (r"failed 1 time in [\d.]+ \w+", "failed 1 time in S"),
        (BATCH, "BATCH"),
        (r"[ \t]+", " "),
    ):
        text = re.sub(pattern, instead, text)
    return text


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
