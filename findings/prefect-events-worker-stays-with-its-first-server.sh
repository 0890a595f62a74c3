#!/usr/bin/env bash
# Prefect 3.9.1: the first event of a process starts a worker that sends events. It is kept without the server's URL, so
# that later events go to the first server, also where PREFECT_API_URL has been changed by temporary_settings since. An
# API client of that moment asks the second server. Expected: events go there, too.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet prefect==3.9.1 'sqlalchemy==2.0.58' 'fastapi==0.150.0'
export PREFECT_HOME="$folder/home" PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=CRITICAL
unset PREFECT_API_URL PREFECT_API_KEY PREFECT_PROFILE
cat > "$folder/case.py" <<'PY'
import json
import queue
import threading
from http import HTTPStatus

import prefect
from prefect import get_client
from prefect.events import emit_event
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from websockets.sync.server import serve

heard = queue.Queue()


def a_server(name):
    """Start a server on loopback that takes events as Prefect's own does, and return the URL of its API."""

    def version(connection, request):
        return None if "Upgrade" in request.headers else connection.respond(HTTPStatus.OK, f'"{prefect.__version__}"')

    def hear(connection):
        connection.recv()  # how the client shows who it is
        connection.send('{"type": "auth_success"}')
        for message in connection:
            heard.put((json.loads(message)["event"], name))

    server = serve(hear, "127.0.0.1", 0, subprotocols=["prefect"], process_request=version)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.socket.getsockname()[1]}/api"


def emit(event, url):
    with temporary_settings({PREFECT_API_URL: url}):
        emit_event(event=event, resource={"prefect.resource.id": "case"})
        with get_client(sync_client=True) as client:
            asked = "first" if str(client.api_url).startswith(first) else "second"
        print(f"{event}: a client asks the {asked} server, the event arrives at the {arrived(event)} server")


def arrived(event):
    found, server = heard.get(timeout=60)
    assert found == event, found
    return server


print("prefect", prefect.__version__)
first, second = a_server("first"), a_server("second")
emit("one", first)
emit("two", second)
EventsWorker.drain_all(at_exit=False)
emit("three, after the worker was ended", second)
PY
"$folder/venv/bin/python" "$folder/case.py" 2> "$folder/err" | tee "$folder/seen" || { cat "$folder/err"; exit 1; }
# Seen:
#   prefect 3.9.1
#   one: a client asks the first server, the event arrives at the first server
#   two: a client asks the second server, the event arrives at the first server
#   three, after the worker was ended: a client asks the second server, the event arrives at the second server
grep -q "^one: a client asks the first server, the event arrives at the first server" "$folder/seen"
grep -q "^two: a client asks the second server, the event arrives at the first server" "$folder/seen"
grep -q "^three.*: a client asks the second server, the event arrives at the second server" "$folder/seen"
