"""Prefect's database with its tables made: for a server that starts with an empty one, they cost 4 s of a CPU."""

import fcntl
import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_KEPT = Path(__file__).parents[1] / ".pytest_cache" / "d"


def put_into(folder, name="prefect.db"):
    """Put the database into a Prefect home, or wherever a server looks for one of that name, unless there is one."""
    folder = Path(folder)
    if not (folder / name).exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_made(), folder / name)


def in_a_folder_for_tests(suffix=""):
    """Make a temporary folder with the database under the name that `prefect_test_harness` gives it."""
    folder = tempfile.mkdtemp(suffix=suffix)
    put_into(folder, "prefect-test.db")
    return folder


def pytest_configure():
    """Have the server of `resilient_prefect` start with it, in a suite of which this is a plugin."""
    importlib.import_module("resilient_tasks.pytest_plugin").mkdtemp = in_a_folder_for_tests


def _made():
    """Return the path of the database; it is made once for each version of Prefect, and kept with pytest's cache."""
    _KEPT.mkdir(parents=True, exist_ok=True)
    path = _KEPT / f"prefect-{importlib.metadata.version('prefect')}.db"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with tempfile.TemporaryDirectory() as home:
                command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
                own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
                own |= {"HOME": home, "PREFECT_HOME": home}
                subprocess.run(command, env=own, cwd=home, stdout=subprocess.DEVNULL, timeout=300, check=True)
                (unfinished := path.with_suffix(".new")).write_bytes((Path(home) / "prefect.db").read_bytes())
                unfinished.replace(path)
    return path
