#!/usr/bin/env bash
# pyarrow 26.0.1, pandas 3.1.1: Table.from_pandas(frame, preserve_index=False) does not only leave the index out: integer
# column labels come back as texts, and the tuples of a MultiIndex as texts of tuples. With preserve_index=None they stay.
# Expected: the option says what happens to the index, and nothing of the columns.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pyarrow==26.0.1 pandas==3.1.1
cat > "$folder/case.py" <<'PY'
import pandas as pd
import pyarrow as pa

print("pyarrow", pa.__version__, "pandas", pd.__version__)
for labels in ([2013, 2014], pd.MultiIndex.from_tuples([("delay", 1), ("delay", 2)])):
    frame = pd.DataFrame([[1, 2]])
    frame.columns = labels
    for keep in (None, False):
        print(f"preserve_index={keep}:", pa.Table.from_pandas(frame, preserve_index=keep).to_pandas().columns.tolist())
PY
"$folder/venv/bin/python" "$folder/case.py" | tee "$folder/seen"
# Seen:
#   pyarrow 26.0.1 pandas 3.1.1
#   preserve_index=None: [2013, 2014]
#   preserve_index=False: ['2013', '2014']
#   preserve_index=None: [('delay', 1), ('delay', 2)]
#   preserve_index=False: ["('delay', '1')", "('delay', '2')"]
grep -qF "preserve_index=None: [2013, 2014]" "$folder/seen"
grep -qF "preserve_index=False: ['2013', '2014']" "$folder/seen"
grep -qF "preserve_index=False: [\"('delay', '1')\", \"('delay', '2')\"]" "$folder/seen"
