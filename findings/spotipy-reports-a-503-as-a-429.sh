#!/usr/bin/env bash
# spotipy 2.26.0: a service that answers 503 until the retries are used up is reported with http_status 429, and a line on
# standard error that the application has reached a rate limit. The server never answered 429, and asked for no wait.
# Expected: http_status 503.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet spotipy==2.26.0
cat > "$folder/case.py" <<'PY'
import http.server
import threading
from importlib.metadata import version

import spotipy


class Down(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"error": {"status": 503, "message": "down"}}'
        self.send_response(503)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Down)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = spotipy.Spotify(auth="token", retries=1, status_retries=1, backoff_factor=0)
client.prefix = f"http://127.0.0.1:{server.server_port}/v1/"
print("spotipy", version("spotipy"))
try:
    client.track("4uLU6hMCjMI75M1A2tKUQC")
except spotipy.SpotifyException as error:
    print("http_status", error.http_status)
    print("reason:", error.reason)
PY
"$folder/venv/bin/python" "$folder/case.py" 2> /dev/null | tee "$folder/seen"
# Seen:
#   spotipy 2.26.0
#   http_status 429
#   reason: too many 503 error responses
grep -q "^http_status 429" "$folder/seen"
