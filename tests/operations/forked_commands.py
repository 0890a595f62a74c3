"""Runs commands of Prefect's and of the library's, and scripts, each in a process of its own; imports Prefect once.

As a program it is the process that has imported Prefect; it forks for each command. To start each from nothing costs
more than two seconds of a CPU, most of it for the same imports.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import re
import runpy
import shlex
import subprocess
import sys
import tempfile
import threading
import traceback
from pathlib import Path

#: The programs, and what the script of each calls. What reads the environment when it is imported is imported after.
ENTRIES = {"prefect": "prefect.cli:app", "resilient-tasks": "resilient_tasks.cli:main"}
#: What a shell does, unless it is quoted, and what is to be a program of its own because it starts others or stays.
_QUOTED = re.compile(r"\"[^\"$`]*\"")
_NOT_HERE = re.compile(r"[|&;<>$`*]|^\w+=|^prefect server start\b|^prefect worker\b")


class Commands:
    """A process that runs commands.

    Args:
        env: The environment in which it starts. That of a command may differ, but not in the home.
        modules: What it imports besides.
    """

    def __init__(self, env, *modules):
        program = [sys.executable, str(Path(__file__).resolve()), *modules]
        self._process = subprocess.Popen(program, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def can_run(self, command):
        """Tell whether a command, typed into a shell, is one of those that are run here."""
        return not _NOT_HERE.search(_QUOTED.sub("", command)) and shlex.split(command)[0] in ENTRIES

    def run(self, command, env, folder, errors=None):
        """Run a command, or the path of a script and its arguments; return its exit status and what it printed.

        What it prints on the standard error goes into the file `errors`, if one is given.
        """
        words = shlex.split(command) if isinstance(command, str) else list(map(str, command))
        self._process.stdin.write(json.dumps([words, env, str(folder), errors and str(errors)]) + "\n")
        self._process.stdin.flush()
        status, printed = json.loads(self._process.stdout.readline())
        return status, printed

    def stop(self):
        """End the process, if it runs."""
        if self._process.stdin.closed:
            return
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


def _serve():
    import prefect.cli

    for module in pkgutil.iter_modules(prefect.cli.__path__, "prefect.cli."):
        with contextlib.suppress(ImportError):  # of an extra that is not installed
            importlib.import_module(module.name)
    importlib.import_module("prefect.client.orchestration")
    for name in ("pandera.pandas", *sys.argv[1:]):
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    gc.freeze()  # what all share is not to be looked through, and so copied, by each
    for line in sys.stdin:
        with tempfile.TemporaryFile() as printed:
            child = os.fork()
            if not child:
                answers.close()
                os._exit(_become(printed, *json.loads(line)))
            _, status = os.waitpid(child, 0)
            printed.seek(0)
            text = printed.read().decode()
        answers.write(json.dumps([os.waitstatus_to_exitcode(status), text]) + "\n")
        answers.flush()


def _become(printed, words, env, folder, errors):
    """Run the command in this process, and return its exit status."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    to_errors = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) if errors else printed.fileno()
    for old, new in ((nothing, 0), (printed.fileno(), 1), (to_errors, 2)):
        os.dup2(old, new)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env, PWD=folder)  # as a shell does
    is_script = words[0].endswith(".py")
    sys.path[0] = str(Path(words[0]).parent) if is_script else folder
    sys.argv = words if is_script else [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    context = importlib.import_module("prefect.context")
    context.GLOBAL_SETTINGS_CONTEXT = context.root_settings_context()  # the profile may have been changed meanwhile
    module, _, name = ENTRIES.get(words[0], "").partition(":")
    try:
        status = getattr(importlib.import_module(module), name)() if module else _main_of(words[0])
    except SystemExit as end:
        status = end.code
    except BaseException:
        traceback.print_exc()
        status = 1
    # The end of a program, without taking down all that was imported.
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return int(status or 0)


def _main_of(script):
    runpy.run_path(script, run_name="__main__")
    return 0


if __name__ == "__main__":
    _serve()
