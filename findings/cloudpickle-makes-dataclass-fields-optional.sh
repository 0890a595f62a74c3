#!/usr/bin/env bash
# cloudpickle 3.1.3: a dataclass of the running script has other fields after the way to another process: none of them has
# dataclasses.MISSING as its default any more, for that mark crosses as a copy. The class itself works there. A class made
# from it there takes no arguments and says nothing: its fields hold the copy of the mark, or the class `list`.
# Expected: the same fields on both sides, and a TypeError for the argument that is not given.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet cloudpickle==3.1.3
cat > "$folder/stored.py" <<'PY'
import dataclasses
import pickle
import sys


def describe(kind, where):
    for field in dataclasses.fields(kind):
        print(f"{where}: {field.name} has", "no default" if field.default is dataclasses.MISSING else "a default")
    print(f"{where}: the class gives", attempt(kind, 2013))
    stored = dataclasses.make_dataclass("Stored", [("key", int, 0)], bases=(kind,))
    print(f"{where}: its subclass gives", attempt(stored))


def attempt(kind, *values):
    try:
        made = kind(*values)
    except TypeError:
        return "a TypeError"
    return [type(made.year).__name__, made.tags]


if __name__ == "__main__":
    describe(pickle.load(sys.stdin.buffer), "there")
PY
cat > "$folder/here.py" <<'PY'
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import cloudpickle
from stored import describe


@dataclass
class Window:
    year: int
    tags: list = field(default_factory=list)


print("cloudpickle", version("cloudpickle"))
describe(Window, "here")
there = [sys.executable, str(Path(__file__).with_name("stored.py"))]
print(subprocess.run(there, input=cloudpickle.dumps(Window), capture_output=True, check=True).stdout.decode(), end="")
PY
"$folder/venv/bin/python" "$folder/here.py" | tee "$folder/seen"
# Seen:
#   cloudpickle 3.1.3
#   here: year has no default
#   here: tags has no default
#   here: the class gives ['int', []]
#   here: its subclass gives a TypeError
#   there: year has a default
#   there: tags has a default
#   there: the class gives ['int', []]
#   there: its subclass gives ['_MISSING_TYPE', <class 'list'>]
grep -q "^here: year has no default" "$folder/seen"
grep -q "^here: its subclass gives a TypeError" "$folder/seen"
grep -q "^there: year has a default" "$folder/seen"
grep -qF "there: the class gives ['int', []]" "$folder/seen"
grep -qF "there: its subclass gives ['_MISSING_TYPE', <class 'list'>]" "$folder/seen"
