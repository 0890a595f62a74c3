#!/usr/bin/env bash
# cloudpickle 3.1.3, pandera 0.35.0: a DataFrameModel of the running script loses its check methods on the way to another
# process, and says nothing. Its field rules cross. The schema that the model builds crosses whole.
# Expected: the same verdict on both sides, or an error when it is pickled.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'pandera[pandas]==0.35.0' cloudpickle==3.1.3 pandas==3.1.1
cat > "$folder/there.py" <<'PY'
import pickle
import sys

import pandas as pd

rules = pickle.loads(sys.stdin.buffer.read())
for price in (500.0, -1.0):
    try:
        rules.validate(pd.DataFrame({"price": [price]}))
        print(price, "accepted")
    except Exception as error:
        print(price, type(error).__name__)
PY
cat > "$folder/here.py" <<'PY'
import subprocess
import sys
from importlib.metadata import version

import cloudpickle
import pandas as pd
import pandera.pandas as pa


class Fares(pa.DataFrameModel):
    price: float = pa.Field(ge=0)

    @pa.check("price")
    @classmethod
    def below_the_cap(cls, prices: pd.Series) -> pd.Series:
        return prices < 100


def there(name, rules):
    run = subprocess.run([sys.executable, sys.argv[1]], input=cloudpickle.dumps(rules), capture_output=True, check=True)
    print(f"{name}:", ", ".join(run.stdout.decode().splitlines()))


print(*(f"{name} {version(name)}" for name in ("cloudpickle", "pandera")))
try:
    Fares.validate(pd.DataFrame({"price": [500.0]}))
except pa.errors.SchemaError as error:
    print("here:", type(error).__name__)
there("the model there", Fares)
there("its schema there", Fares.to_schema())
PY
"$folder/venv/bin/python" "$folder/here.py" "$folder/there.py" | tee "$folder/seen"
# Seen:
#   cloudpickle 3.1.3 pandera 0.35.0
#   here: SchemaError
#   the model there: 500.0 accepted, -1.0 SchemaError
#   its schema there: 500.0 SchemaError, -1.0 SchemaError
grep -q "^here: SchemaError" "$folder/seen"
grep -q "the model there: 500.0 accepted, -1.0 SchemaError" "$folder/seen"
grep -q "its schema there: 500.0 SchemaError, -1.0 SchemaError" "$folder/seen"
