#!/usr/bin/env bash
# pytest 9.2.0 with pytest-xdist 3.8.0: --dist loadgroup ignores @pytest.mark.xdist_group, without a word.
# Tests of one group run on both workers at once, as with --dist load. Expected, and so with pytest 9.0.2: on one worker.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cat > "$folder/test_shared.py" <<'PY'
import pytest


@pytest.mark.xdist_group("one database")
@pytest.mark.parametrize("number", range(20))
def test_that_shares_a_database(number):
    pass
PY
workers() {
  python3 -m venv "$folder/$1"
  "$folder/$1/bin/pip" install --quiet "pytest==$1" pytest-xdist==3.8.0
  "$folder/$1/bin/python" -m pytest -n 2 --dist loadgroup -v "$folder/test_shared.py" > "$folder/out"
  echo "pytest $1: $(grep -c PASSED "$folder/out") tests on $(grep -oE '^\[gw[0-9]+\]' "$folder/out" | sort -u | wc -l) workers"
}
{ workers 9.0.2; workers 9.2.0; } | tee "$folder/seen"
# Seen:
#   pytest 9.0.2: 20 tests on 1 workers
#   pytest 9.2.0: 20 tests on 2 workers
grep -qx "pytest 9.0.2: 20 tests on 1 workers" "$folder/seen"
grep -qx "pytest 9.2.0: 20 tests on 2 workers" "$folder/seen"
