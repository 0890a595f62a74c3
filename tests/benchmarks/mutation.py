"""Mutation testing: change one thing in the code at a time, and see whether a test fails.

    python tests/benchmarks/mutation.py resilient_tasks/policies/retry --sample 200

The tests of a mutant are those that cover its line, which is measured once and kept in `out/mutation`, as is each
result: a killed mutant is not tried again until its file changes. Each is imported in a fork of a process that has
imported everything but the library.

mutmut 3.8 leaves out decorated functions, such as properties, and constants. It also calls each function through
another one, which is in the way where the library looks at the stack. cosmic-ray starts a process for each mutant.
"""

import argparse
import hashlib
import importlib
import json
import os
import random
import resource
import signal
import sys
import time
from importlib.machinery import SourceFileLoader
from itertools import pairwise
from pathlib import Path

import coverage
import pytest
from mutants import Source

ROOT = Path(__file__).parents[2]
OUT = ROOT / "out" / "mutation"
ACCEPTED = Path(__file__).with_name("mutants_accepted.txt")
TESTS = (
    *("tests/core", "tests/policies", "tests/state", "tests/explanation", "tests/observe", "tests/subprocess"),
    *(
        "tests/test_model_of_a_call.py",
        "tests/test_house.py",
        "tests/test_own_error_arrives.py",
        "tests/test_decorate.py",
    ),
    *("tests/test_named_policies.py", "tests/test_what_newcomers_type.py"),
)
WARM = (
    "asyncio",
    "cloudpickle",
    "hypothesis.stateful",
    "httpx",
    "pandas",
    "pandera.pandas",
    "pandera.polars",
    "pydantic",
)
#: pytest would import the library in its own way, to explain its assertions.
OPTIONS = ("-n0", "--assert=plain", "-p", "no:cacheprovider", f"--basetemp={OUT / 'tmp'}")
SURVIVED, KILLED = 77, {"killed", "slow"}


class Run:
    """The mutants to try; also a plugin of pytest, whose sessions run the tests."""

    def __init__(self, mutants, sources, seconds, paths):
        self.mutants, self.sources, self.seconds, self.paths = mutants, sources, seconds, paths
        self.hashes = {file: _hash(source.text) for file, source in sources.items()}
        self.kept, self.measured = OUT / "results.jsonl", OUT / "tests.json"
        known = [json.loads(line) for line in self.kept.read_text().splitlines()] if self.kept.exists() else []
        self.results = {each["key"]: each for each in known if each["hash"] == self.hashes.get(each["file"])}
        self.tests, self.failed, self.loop = {}, False, None

    def run(self):
        """Try all mutants that are not known to be killed, and return the results of all."""
        rest = [each for each in self.mutants if self.results.get(each.key, {}).get("result") not in KILLED]
        print(
            f"{len(self.mutants)} mutants, {len(rest)} of them to try; first, which lines the tests cover", flush=True
        )
        for name in WARM:
            importlib.import_module(name)
        if _forked(lambda: self.session(self.measure, self.paths), 7200) != SURVIVED:
            sys.exit("the tests could not be run")
        self.tests, began = json.loads(self.measured.read_text())["tests"], time.monotonic()
        for number, mutant in enumerate(rest, 1):
            result = self.results[mutant.key] = self.judged(mutant)
            with self.kept.open("a") as file:
                file.write(json.dumps(result) + "\n")
            if result["result"] not in KILLED or not number % 50:
                print(f"{time.monotonic() - began:5.0f} s, {number}/{len(rest)}: {_line(result)}", flush=True)
        return [self.results[mutant.key] for mutant in self.mutants]

    def session(self, loop, paths):
        """Have pytest collect the tests there, and `loop` run them."""
        self.loop = loop
        pytest.main([*OPTIONS, *paths], plugins=[self])
        return 1  # `loop` ends the process; the tests could not be collected

    def pytest_runtestloop(self, session):
        if session.testsfailed:  # a file could not be imported
            os._exit(1)
        self.loop(session.items)

    def pytest_runtest_logreport(self, report):
        self.failed = self.failed or report.failed

    def measure(self, items):
        """Write which lines each test covers and its CPU time, unless neither the test nor those files changed."""
        files = {
            str(file.relative_to(ROOT)): _hash(file.read_text()) for file in (ROOT / "resilient_tasks").rglob("*.py")
        }
        before = json.loads(self.measured.read_text()) if self.measured.exists() else {"files": {}, "tests": {}}
        same = {file for file in files if before["files"].get(file) == files[file]}
        paths = {item.nodeid: str(item.path.relative_to(ROOT)) for item in items}
        texts = {path: _hash(Path(path).read_text()) for path in set(paths.values())}
        tests = {
            test: known
            for test, known in before["tests"].items()
            if known["text"] == texts.get(known["path"], known["text"]) and same.issuperset(known["lines"])
        }
        new = [item for item in items if item.nodeid not in tests]
        cover = coverage.Coverage(data_file=None, source=["resilient_tasks"], config_file=False)
        cover.start()
        for item, following in pairwise([*new, None]):
            cover.switch_context(item.nodeid)
            began, self.failed = time.process_time(), False
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if not self.failed:  # some do with a tracer
                about = {"text": texts[path := paths[item.nodeid]], "path": path}
                tests[item.nodeid] = {**about, "seconds": time.process_time() - began, "lines": {}}
        cover.stop()
        data = cover.get_data()
        for file in data.measured_files():
            for line, contexts in data.contexts_by_lineno(file).items():
                for test in tests.keys() & contexts:
                    tests[test]["lines"].setdefault(str(Path(file).relative_to(ROOT)), []).append(line)
        self.measured.write_text(json.dumps({"files": files, "tests": tests}))
        os._exit(SURVIVED)

    def judged(self, mutant):
        """Try one mutant."""
        tests = self.tests_of(mutant)
        ended = _forked(lambda: self.changed(mutant, tests), 15 + 3 * sum(tests.values())) if tests else SURVIVED
        result = {SURVIVED: "survived", -signal.SIGKILL: "slow", -signal.SIGXCPU: "slow"}.get(ended, "killed")
        about = {"key": mutant.key, "line": mutant.line, "file": mutant.file, "hash": self.hashes[mutant.file]}
        return {**about, "result": result, "tests": len(tests)}

    def tests_of(self, mutant):
        """Return the tests that cover the line, the fastest first, as many as the time allows, and their CPU time.

        If it runs at import, or once before any test, these are all tests of the file.
        """
        of_file = {
            test: known["lines"][mutant.file] for test, known in self.tests.items() if mutant.file in known["lines"]
        }
        of_line = [test for test, lines in of_file.items() if mutant.line in lines]
        chosen, left = {}, self.seconds
        for test in sorted(
            of_file if mutant.at_import else of_line or of_file, key=lambda test: self.tests[test]["seconds"]
        ):
            left -= self.tests[test]["seconds"]
            if left < 0:
                break
            chosen[test] = self.tests[test]["seconds"]
        return chosen

    def changed(self, mutant, tests):
        """Import the changed file, and run the tests until one fails."""
        path, get_code = str(ROOT / mutant.file), SourceFileLoader.get_code
        code = self.sources[mutant.file].changed(mutant.number)
        SourceFileLoader.get_code = lambda loader, name: code if loader.path == path else get_code(loader, name)

        def loop(items):
            by_id = {item.nodeid: item for item in items}
            for item, following in pairwise([*(by_id[test] for test in tests if test in by_id), None]):
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
                if self.failed:
                    os._exit(1)
            os._exit(SURVIVED)

        return self.session(loop, sorted({self.tests[test]["path"] for test in tests}))


def _forked(do, seconds):
    """Run `do` in a fork for at most `seconds` of CPU time, and return its exit code."""
    pid = os.fork()
    if not pid:
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), int(seconds) + 1))
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, 1), os.dup2(nothing, 2)
            os._exit(do())
        finally:
            os._exit(1)
    end = time.monotonic() + 30 + 10 * seconds  # the machine may be busy
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None and time.monotonic() < end:
        time.sleep(0.005)
    os.killpg(pid, signal.SIGKILL)  # with what it has started
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _hash(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _accepted():
    """Return the keys of mutants that behave as well as the code does; a reason follows each."""
    lines = ACCEPTED.read_text().splitlines() if ACCEPTED.exists() else []
    return {line.rpartition("  # ")[0].strip() for line in lines}


def _line(result):
    return f"{result['result']} by {result['tests']} tests: {result['line']} {result['key']}"


def report(results):
    """Return the figures by file, and the survivors."""
    lines = ["| file | mutants | killed | % |", "|---|---:|---:|---:|"]
    for file in (*sorted({each["file"] for each in results}), "all"):
        its = [each["result"] in KILLED for each in results if file in {"all", each["file"]}]
        lines.append(f"| {file} | {len(its)} | {sum(its)} | {100 * sum(its) / max(1, len(its)):.1f} |")
    return "\n".join([*lines, "", *(f"- {_line(each)}" for each in results if each["result"] not in KILLED)])


def main():
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("paths", nargs="+", type=Path, help="files or folders of the library")
    parser.add_argument("--sample", type=int, default=0, help="how many mutants, chosen at random; 0: all")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument(
        "--seconds", type=float, default=10, help="the most CPU time that the tests of one mutant may take"
    )
    parser.add_argument("--tests", nargs="+", default=TESTS, help="files or folders of tests")
    options = parser.parse_args()
    os.chdir(ROOT)
    OUT.mkdir(parents=True, exist_ok=True)
    files = sorted(str(file) for path in options.paths for file in (path.rglob("*.py") if path.is_dir() else [path]))
    sources, accepted = {file: Source(file) for file in files}, _accepted()
    mutants = [each for source in sources.values() for each in source.mutants() if each.key not in accepted]
    if 0 < options.sample < len(mutants):
        mutants = sorted(random.Random(options.seed).sample(mutants, options.sample))
    text = report(Run(mutants, sources, options.seconds, options.tests).run())
    (OUT / "report.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
