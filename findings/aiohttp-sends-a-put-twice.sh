#!/usr/bin/env bash
# aiohttp 3.14.5: a PUT or DELETE whose connection is closed without a reply is sent again, also on a new connection.
# The caller gets ServerDisconnectedError after the second one. No argument of ClientSession switches that off.
# Expected: one request a call, as a POST does it, and as httpx does it; a server that counts changes has two.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet aiohttp==3.14.5 httpx==0.28.1
cat > "$folder/case.py" <<'PY'
import asyncio
from collections import Counter

import aiohttp
import httpx

received = Counter()


async def lose_the_reply(reader, writer):
    request = await reader.readuntil(b"\r\n\r\n")
    received[request.split()[0].decode()] += 1
    writer.close()


async def main():
    server = await asyncio.start_server(lose_the_reply, "127.0.0.1", 0)
    url = "http://127.0.0.1:{}/seats/12A".format(server.sockets[0].getsockname()[1])
    for method in ("PUT", "DELETE", "POST"):
        async with aiohttp.ClientSession() as session:
            try:
                await session.request(method, url)
            except aiohttp.ServerDisconnectedError:
                pass
    print("aiohttp", aiohttp.__version__, dict(received))
    received.clear()
    async with httpx.AsyncClient() as client:
        try:
            await client.put(url)
        except httpx.RemoteProtocolError:
            pass
    print("httpx", httpx.__version__, dict(received))


asyncio.run(main())
PY
"$folder/venv/bin/python" "$folder/case.py" | tee "$folder/seen"
# Seen:
#   aiohttp 3.14.5 {'PUT': 2, 'DELETE': 2, 'POST': 1}
#   httpx 0.28.1 {'PUT': 1}
grep -qxF "aiohttp 3.14.5 {'PUT': 2, 'DELETE': 2, 'POST': 1}" "$folder/seen"
grep -qxF "httpx 0.28.1 {'PUT': 1}" "$folder/seen"
