"""Starts what the page on operations starts: a server of its own, commands against it, and processes beside it."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import prefect_database  # needs that path

#: What keeps a test's Prefect away from the user's own, and from hosts that are not there.
ALONE = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_CLI_COLORS": "false",
    "NO_COLOR": "1",
    "TERM": "dumb",
    "COLUMNS": "200",
    "PYTHONUNBUFFERED": "1",
    "MLFLOW_WORKERS": "1",  # each of four would import MLflow
}


def free_port(host="127.0.0.1"):
    """Return a port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind((host, 0))
        return listener.getsockname()[1]


def eventually(look, within=120):
    """Look until there is something to see, and return it; look less often the longer it takes."""
    until, pause = time.monotonic() + within, 0.1
    while not (seen := look()):
        assert time.monotonic() < until, f"nothing to see within {within} s"
        time.sleep(pause)
        pause = min(1, pause * 1.1)
    return seen


def path_with(folder):
    """Return a module path of a folder and what this process's has."""
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


def environment(home, **more):
    """Return the environment of a process whose home, Prefect profile and database lie below `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    Path(home).mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    own = {"HOME": str(home), "PREFECT_HOME": str(Path(home) / ".prefect"), "PATH": path}
    made = {**kept, **ALONE, **own, **{name: str(value) for name, value in more.items()}}
    prefect_database.put_into(made["PREFECT_HOME"])
    return made


def answers(url, within=2.0):
    """Tell whether a server answers at `url`, which is that of its API."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=within) as response:  # a server of the test's own
            return json.load(response) is True
    except OSError:
        return False


@dataclass
class Running:
    """A process that a test has started, with what it prints in a file; it is ended with its children."""

    command: list[str]
    env: dict[str, str]
    folder: Path
    name: str = "process"
    process: subprocess.Popen = field(init=False)

    def __post_init__(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.output.open("a") as output:
            self.process = subprocess.Popen(
                self.command,
                env={**self.env, "PWD": str(self.folder)},  # as of a shell there
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    @property
    def output(self):
        return self.folder / f"{self.name}.log"

    def signal(self, number):
        """Send a signal to the process and its children."""
        os.killpg(self.process.pid, number)

    def ended(self, within=120):
        """Wait for the end, and return the exit status."""
        return self.process.wait(within)

    def stop(self):
        """End the process, gently at first."""
        for number, patience in ((signal.SIGCONT, 0), (signal.SIGTERM, 20), (signal.SIGKILL, 20)):
            if self.process.poll() is not None:
                break
            self.signal(number)
            if patience:
                try:
                    self.process.wait(patience)
                except subprocess.TimeoutExpired:
                    continue

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


@dataclass
class Server:
    """A Prefect server with a database of its own, which can be stopped and started on it again.

    Attributes:
        folder: its home: the profile, the database and the log lie in it.
        host: the address on which it listens.
        more: further variables of its environment.
        within: words before its command, such as those that enter a network namespace.
    """

    folder: Path
    host: str = "127.0.0.1"
    more: dict[str, str] = field(default_factory=dict)
    within: list[str] = field(default_factory=list)
    port: int = 0
    running: Running | None = None

    def __post_init__(self):
        self.port = self.port or free_port(self.host if not self.within else "127.0.0.1")

    @property
    def url(self):
        """The URL of its API."""
        return f"http://{self.host}:{self.port}/api"

    @property
    def env(self):
        """The environment of commands and flows that use this server."""
        return environment(self.folder, PREFECT_API_URL=self.url, **self.more)

    def start(self):
        """Start it, and wait until it answers."""
        arguments = ["server", "start", "--host", self.host, "--port", str(self.port)]
        command = [*self.within, sys.executable, "-m", "prefect", *arguments]
        self.running = Running(command, self.env, self.folder, "server")
        eventually(lambda: self.running.process.poll() is not None or answers(self.url))
        assert self.running.process.poll() is None, self.running.output.read_text()
        return self

    def freeze(self):
        """Have it stand still: connections are accepted, and nothing answers."""
        self.running.signal(signal.SIGSTOP)

    def thaw(self):
        """Have it go on."""
        self.running.signal(signal.SIGCONT)

    def stop(self):
        """End it; its database stays."""
        if self.running is not None:
            self.running.stop()
            self.running = None

    def prefect(self, *arguments, **more):
        """Run `prefect` with these arguments against the server, and return what it prints."""
        return run(["prefect", *arguments], {**self.env, **more}, self.folder)


def run(command, env, folder, within=120, status=0):
    """Run a command to its end, and return what it prints; a shell does it where the command is one string."""
    done = subprocess.run(  # what the page shows
        command,
        shell=isinstance(command, str),
        env={**env, "PWD": str(folder)},  # as of a shell there
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=within,
        check=False,
    )
    assert status is None or done.returncode == status, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


#: What a shell does, unless it is quoted.
_QUOTED = re.compile(r"\"[^\"$`]*\"|'[^']*'")
_OF_A_SHELL = re.compile(r"[|&;<>$`*~]|^\w+=")


def words_of(command):
    """Return the words of a command that is typed into a shell: those of bash itself where it is one for a shell."""
    if _OF_A_SHELL.search(_QUOTED.sub("", command)):
        return ["bash", "-c", command]
    return shlex.split(command)


_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def masked(text, **known):
    """Return printed text with ids, times and what is in `known` (`name=value`) replaced by names in angle brackets."""
    for name, value in known.items():
        text = text.replace(str(value), f"<{name}>")
    return _ID.sub("<id>", text)
