#!/usr/bin/env bash
# distributed 2026.8.0 (with tblib 3.2.2): `import distributed` changes how `pickle` writes every exception class that
# exists at that moment, in the whole process. An error whose __init__ takes other arguments than its `args` cannot be
# unpickled before the import, can be after it, and a class defined after the import cannot again. Tracebacks travel too.
# Expected: an import changes the pickles of no foreign class, or of all.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet distributed==2026.8.0 dask==2026.8.0 tblib==3.2.2
cat > "$folder/case.py" <<'PY'
import pickle


def defined(name):
    def __init__(self, url, status):
        Exception.__init__(self, f"{url}: {status}")
        self.url, self.status = url, status

    kind = type(name, (Exception,), {"__init__": __init__, "__module__": "__main__"})
    globals()[name] = kind
    return kind


def crosses(error):
    try:
        raise error
    except Exception as caught:
        written = pickle.dumps(caught)
    try:
        read = pickle.loads(written)
    except TypeError:
        return "TypeError when it is read"
    return f"read, traceback {'kept' if read.__traceback__ else 'gone'}"


early = defined("Early")
print("ValueError, before the import:          ", crosses(ValueError("x")))
print("defined before the import, before it:   ", crosses(early("a", 503)))
import distributed

late = defined("Late")
print("distributed", distributed.__version__)
print("ValueError, after the import:           ", crosses(ValueError("x")))
print("defined before the import, after it:    ", crosses(early("a", 503)))
print("defined after the import:               ", crosses(late("a", 503)))
PY
"$folder/venv/bin/python" "$folder/case.py" | tee "$folder/seen"
# Seen:
#   ValueError, before the import:           read, traceback gone
#   defined before the import, before it:    TypeError when it is read
#   distributed 2026.8.0
#   ValueError, after the import:            read, traceback kept
#   defined before the import, after it:     read, traceback kept
#   defined after the import:                TypeError when it is read
grep -q "ValueError, before the import: *read, traceback gone" "$folder/seen"
grep -q "defined before the import, before it: *TypeError" "$folder/seen"
grep -q "ValueError, after the import: *read, traceback kept" "$folder/seen"
grep -q "defined before the import, after it: *read, traceback kept" "$folder/seen"
grep -q "defined after the import: *TypeError" "$folder/seen"
