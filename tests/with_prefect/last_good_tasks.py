"""A task that other processes import; a file makes it fail."""

import os
from pathlib import Path

from resilient_tasks import LastGood, resilient_task


@resilient_task(fallback=LastGood("2d", folder=os.environ.get("LAST_GOOD_TEST_FOLDER", "last_good")))
def fetch_month(month, folder):
    if Path(folder, "down").exists():
        raise ConnectionError("down")
    return {"month": month, "pid": os.getpid()}
