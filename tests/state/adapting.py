"""What processes of the worker pool do with an adaptive rate limit."""

import threading
import time

from resilient_tasks import AdaptiveRateLimit, resilient

LIMIT = AdaptiveRateLimit("adapting", start=40, per=1, increase=0.001)
PAUSE = 0.8


class TooMany(Exception):
    """What a client makes of a 429."""

    def __init__(self):
        super().__init__("slow down")
        self.status_code, self.retry_after = 429, PAUSE


def keep_calling_beside(seconds):
    """Call, and be never refused."""
    return keep_calling(seconds, refused=False)


def keep_calling_and_be_refused(seconds):
    """Call, and be refused after a while."""
    return keep_calling(seconds, refused=True)


def keep_calling(seconds, *, refused):
    """Call from four threads of each process; where `refused`, all calls that come after 0.3 s and before it was told.

    Returns when calls began, and when the first one that was refused had ended.
    """
    began, ended, lock = [], [], threading.Lock()
    begin = time.monotonic()

    @resilient(rate_limit=LIMIT)
    def call():
        began.append(time.time())
        if refused and not ended and time.monotonic() > begin + 0.3:
            raise TooMany

    def work():
        while time.monotonic() < begin + seconds:
            failed = call.outcome().__class__.__name__ == "Failed"
            with lock:
                if failed and not ended:
                    ended.append(time.time())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return began, ended
