#!/usr/bin/env bash
# Prefect 3.9.1, cloudpickle 3.1.3: `from __future__ import annotations` makes a flow of the running script refuse every
# parameter in another process, if one is annotated with a class of that script: only the annotation names the class, so it
# does not cross. The flow's function works there, and so does the flow of a script without that line. (serve() starts the
# runs of a script this way: each fails, and its process exits with 0.)
# Expected: the same on both sides, or an error when the flow is pickled.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet prefect==3.9.1 cloudpickle==3.1.3 'sqlalchemy==2.0.58' 'fastapi==0.150.0'
export PREFECT_HOME="$folder/home" PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=CRITICAL
cat > "$folder/there.py" <<'PY'
import pickle
import sys

load = pickle.load(sys.stdin.buffer)
print("there: the function gives", load.fn("jan"))
try:
    print("there: the flow takes", load.validate_parameters({"month": "jan"}))
except Exception as error:
    print("there: the flow raises", type(error).__name__)
PY
cat > "$folder/plain.py" <<'PY'
import subprocess
import sys
from enum import Enum
from importlib.metadata import version

import cloudpickle
from prefect import flow


class Month(Enum):
    JANUARY = "jan"


@flow
def load(month: Month):
    return month


print(*(f"{name} {version(name)}" for name in ("prefect", "cloudpickle")))
print("here: the flow takes", load.validate_parameters({"month": "jan"}))
there = subprocess.run([sys.executable, sys.argv[1]], input=cloudpickle.dumps(load), capture_output=True, check=True)
print(there.stdout.decode(), end="")
PY
{ echo "from __future__ import annotations"; cat "$folder/plain.py"; } > "$folder/postponed.py"
for kind in plain postponed; do
  "$folder/venv/bin/python" "$folder/$kind.py" "$folder/there.py" > "$folder/out" 2> "$folder/err" || { cat "$folder/err"; exit 1; }
  sed "s/^/$kind: /" "$folder/out" | tee -a "$folder/seen"
done
# Seen:
#   plain: prefect 3.9.1 cloudpickle 3.1.3
#   plain: here: the flow takes {'month': <Month.JANUARY: 'jan'>}
#   plain: there: the function gives jan
#   plain: there: the flow takes {'month': <Month.JANUARY: 'jan'>}
#   postponed: prefect 3.9.1 cloudpickle 3.1.3
#   postponed: here: the flow takes {'month': <Month.JANUARY: 'jan'>}
#   postponed: there: the function gives jan
#   postponed: there: the flow raises PydanticUserError
grep -qF "plain: there: the flow takes {'month': <Month.JANUARY: 'jan'>}" "$folder/seen"
grep -qF "postponed: here: the flow takes {'month': <Month.JANUARY: 'jan'>}" "$folder/seen"
grep -q "^postponed: there: the function gives jan" "$folder/seen"
grep -q "^postponed: there: the flow raises PydanticUserError" "$folder/seen"
