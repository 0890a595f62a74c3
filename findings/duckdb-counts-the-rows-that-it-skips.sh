#!/usr/bin/env bash
# duckdb 2.0.1: which rows read_csv(..., ignore_errors=true) skips depends on the columns that the query uses. A row whose
# price is no number counts in count(*), in sum(id) and in the relation's shape; it does not in the frame, nor in the same
# count(*) next to a count(price). Without ignore_errors the first two give an answer, and only reading the price raises.
# Expected: one number of rows for one relation; an error, where errors count, whatever is read.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet duckdb==2.0.1 pandas==3.1.1
cat > "$folder/case.py" <<'PY'
import sys
from pathlib import Path

import duckdb

file = Path(sys.argv[1]) / "fares.csv"
file.write_text("id,price\n" + "".join(f"{number},{number}\n" for number in range(1, 10)) + "10,n/a\n")
print("duckdb", duckdb.__version__)
for errors in ("ignore_errors=true", "ignore_errors=false"):
    fares = duckdb.sql(f"from read_csv('{file}', columns={{'id': 'INT', 'price': 'INT'}}, {errors})")
    print(f"{errors}: shape", fares.shape)
    for wanted in ("count(*)", "sum(id)", "count(*), count(price)", "sum(id), sum(price)"):
        try:
            print(f"{errors}: {wanted}:", *fares.aggregate(wanted).fetchall()[0])
        except duckdb.ConversionException as error:
            print(f"{errors}: {wanted}:", type(error).__name__)
    try:
        print(f"{errors}: rows of the frame:", len(fares.df()))
    except duckdb.ConversionException as error:
        print(f"{errors}: rows of the frame:", type(error).__name__)
PY
"$folder/venv/bin/python" "$folder/case.py" "$folder" | tee "$folder/seen"
# Seen:
#   duckdb 2.0.1
#   ignore_errors=true: shape (10, 2)
#   ignore_errors=true: count(*): 10
#   ignore_errors=true: sum(id): 55
#   ignore_errors=true: count(*), count(price): 9 9
#   ignore_errors=true: sum(id), sum(price): 45 45
#   ignore_errors=true: rows of the frame: 9
#   ignore_errors=false: shape (10, 2)
#   ignore_errors=false: count(*): 10
#   ignore_errors=false: sum(id): 55
#   ignore_errors=false: count(*), count(price): ConversionException
#   ignore_errors=false: sum(id), sum(price): ConversionException
#   ignore_errors=false: rows of the frame: ConversionException
grep -qF "ignore_errors=true: shape (10, 2)" "$folder/seen"
grep -qF "ignore_errors=true: count(*): 10" "$folder/seen"
grep -qF "ignore_errors=true: sum(id): 55" "$folder/seen"
grep -qF "ignore_errors=true: count(*), count(price): 9 9" "$folder/seen"
grep -qF "ignore_errors=true: rows of the frame: 9" "$folder/seen"
grep -qF "ignore_errors=false: sum(id): 55" "$folder/seen"
grep -qF "ignore_errors=false: rows of the frame: ConversionException" "$folder/seen"
