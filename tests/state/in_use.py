"""Disturb a store that threads use, in a separate process: a mistake there kills it by a signal.

python in_use.py (connect|close|fork|notify) URL SECONDS
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

from resilient_tasks.core.store import opened_by

#: Seconds between two disturbances.
PAUSE = 0.003
#: Seconds after the last one.
UNDISTURBED = 5.0


def keep_changing(store, until, errors):
    number = 0
    # On a busy machine it may succeed only after the last disturbance.
    while time.monotonic() < until or (not number and time.monotonic() < until + UNDISTURBED):
        try:
            store.swap("k", store.get("k"), b"%d" % number)
            number += 1
        except (OSError, ConnectionError):
            pass
        except Exception as error:
            if "closed" in str(error).lower():
                errors.append(repr(error))
    if not number:
        errors.append("nothing was ever changed")


def disturbed(url, until, disturb):
    """Change a state from two threads, and call `disturb` on their store every few milliseconds."""
    store, _ = opened_by(url, 0.05)
    until_connected(store, until)
    errors = []
    threads = [threading.Thread(target=keep_changing, args=(store, until, errors)) for _ in range(2)]
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        with contextlib.suppress(Exception):
            disturb(store)
        time.sleep(PAUSE)
    for thread in threads:
        thread.join()
    return errors


def until_connected(store, until):
    """Connect; the machine may be too busy for the bound."""
    while True:
        try:
            store.connect()
        except Exception:
            if time.monotonic() > until:
                raise
        else:
            return


def reconnect(store):
    store.connect()


def close_and_reconnect(store):
    store.close()
    store.connect()


def fork_and_use(store):
    child = os.fork()
    if not child:
        status = 1
        try:
            until_connected(store, time.monotonic() + 1)
            store.swap(f"child/{os.getpid()}", None, b"1")
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    FAILED.append(status)


FAILED = []


def failing_calls(until):
    """Fail in 200 operations with alerts, from four threads, with the default incidents file."""
    from resilient_tasks import Slack, resilient

    def named(number):
        def fail():
            raise ConnectionError(f"down {number}")

        fail.__name__ = fail.__qualname__ = f"operation_{number}"
        return resilient(notify=Slack(webhook="http://127.0.0.1:9/"))(fail)

    operations = [named(number) for number in range(200)]
    errors = []

    def go():
        while time.monotonic() < until:
            for operation in operations:
                try:
                    operation()
                except ConnectionError:
                    pass
                except Exception as error:
                    errors.append(repr(error))

    threads = [threading.Thread(target=go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


if __name__ == "__main__":
    mode, url, until = sys.argv[1], sys.argv[2], time.monotonic() + float(sys.argv[3])
    if mode == "notify":
        import logging

        logging.disable(logging.CRITICAL)
        found = failing_calls(until)
    else:
        found = disturbed(url, until, {"connect": reconnect, "close": close_and_reconnect, "fork": fork_and_use}[mode])
        found += [f"a child ended with {status}" for status in FAILED if os.WIFSIGNALED(status)]
        if mode == "fork" and 0 not in FAILED:
            found.append("no child could use the store")
    sys.stdout.write("\n".join(found[:5]))
    sys.stdout.flush()
    os._exit(bool(found))  # pending alerts do not matter here
