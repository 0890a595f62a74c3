"""Work under an adaptive rate limit, for the processes of a worker_pool."""

import threading
import time

from resilient_tasks import AdaptiveRateLimit, resilient

LIMIT = AdaptiveRateLimit("adapting", start=40, per=1, increase=0.001)
PAUSE = 0.8


class TooMany(Exception):
    """The error of a client for a 429."""

    def __init__(self):
        super().__init__("slow down")
        self.status_code, self.retry_after = 429, PAUSE


def keep_calling_beside(seconds):
    """Make calls that are never refused."""
    return keep_calling(seconds, refused=False)


def keep_calling_and_be_refused(seconds):
    """Make calls that are refused after a while."""
    return keep_calling(seconds, refused=True)


def keep_calling(seconds, *, refused):
    """Call from four threads; if `refused`, the service refuses calls after 0.3 s, until the first refusal has ended.

    Returns the times at which calls began, and at which the first refused one ended.
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
