#!/usr/bin/env bash
# pandas 3.1.1: DataFrame.to_sql with an engine opens one transaction, and commits it even where an insert raises.
# The rows before the error stay, so a retried append doubles them; if_exists="replace" has lost the old rows.
# Expected: the transaction is rolled back, as SQLAlchemy's own `with engine.begin()` does it. Seen with SQLite.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pandas==3.1.1 'sqlalchemy==2.0.58'
cat > "$folder/case.py" <<'PY'
import pandas as pd
import sqlalchemy as sa

SUMS = pd.DataFrame({"day": ["mon", "tue", "wed"], "total": [1, 2, 3]})
BROKEN = pd.DataFrame({"day": ["thu", "fri", "sat"], "total": [4, 5, {"not": "a number"}]})


def left_after(options, append_in_sqlalchemy=False):
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    SUMS.to_sql("sums", engine, index=False)
    try:
        if append_in_sqlalchemy:
            with engine.begin() as connection:
                BROKEN.to_sql("sums", connection, index=False, **options)
        else:
            BROKEN.to_sql("sums", engine, index=False, **options)
    except pd.errors.DatabaseError:
        pass
    return pd.read_sql("select day from sums", engine)["day"].to_list()


print("pandas", pd.__version__, "sqlalchemy", sa.__version__)
print("append, engine:", left_after({"if_exists": "append", "chunksize": 1}))
print("append, begin():", left_after({"if_exists": "append", "chunksize": 1}, append_in_sqlalchemy=True))
print("replace, engine:", left_after({"if_exists": "replace"}))
PY
"$folder/venv/bin/python" "$folder/case.py" | tee "$folder/seen"
# Seen:
#   pandas 3.1.1 sqlalchemy 2.0.58
#   append, engine: ['mon', 'tue', 'wed', 'thu', 'fri']
#   append, begin(): ['mon', 'tue', 'wed']
#   replace, engine: ['thu', 'fri']
grep -qF "append, engine: ['mon', 'tue', 'wed', 'thu', 'fri']" "$folder/seen"
grep -qF "append, begin(): ['mon', 'tue', 'wed']" "$folder/seen"
grep -qF "replace, engine: ['thu', 'fri']" "$folder/seen"
