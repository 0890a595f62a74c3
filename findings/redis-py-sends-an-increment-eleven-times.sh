#!/usr/bin/env bash
# redis-py 8.1.0: a client without any retry setting sends a command whose reply does not come eleven times, INCR too.
# With socket_timeout=0.3 the call raises TimeoutError after seconds, and the server has counted eleven orders.
# Expected: one attempt, or at least no second one of a command that is not idempotent, and an error after 0.3 s.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet redis==8.1.0
cat > "$folder/case.py" <<'PY'
"""A server that executes every increment, while its replies are lost on the way."""
import socketserver
import threading
import time
from collections import Counter

import redis

counted = Counter()


class Lossy(socketserver.StreamRequestHandler):
    def handle(self):
        while header := self.rfile.readline():
            words = []
            for _ in range(int(header[1:])):
                length = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(length + 2)[:-2])
            if words[0] == b"INCRBY":
                counted[words[1].decode()] += int(words[2])
            else:
                self.wfile.write(b"+OK\r\n")


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


with Server(("127.0.0.1", 0), Lossy) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = redis.Redis(port=server.server_address[1], protocol=2, socket_timeout=0.3)
    began = time.monotonic()
    try:
        client.incr("orders")
    except redis.TimeoutError as error:
        print("redis-py", redis.__version__, "raises", type(error).__name__)
    print("more than three seconds:", time.monotonic() - began > 3)
    print("counted:", counted["orders"])
    server.shutdown()
PY
"$folder/venv/bin/python" "$folder/case.py" | tee "$folder/seen"
# Seen:
#   redis-py 8.1.0 raises TimeoutError
#   more than three seconds: True
#   counted: 11
grep -qx "redis-py 8.1.0 raises TimeoutError" "$folder/seen"
grep -qx "more than three seconds: True" "$folder/seen"
grep -qx "counted: 11" "$folder/seen"
