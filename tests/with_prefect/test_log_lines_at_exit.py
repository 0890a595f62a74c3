"""A line that the library logs at exit, such as about an alert, is printed without an error from Prefect."""

import subprocess
import sys

SCRIPT = """
import atexit, logging, uuid

from resilient_tasks.prefect import runs

runs.connect()
run = {"flow_run_id": str(uuid.uuid4()), "flow_run": "lush-otter"}
# As Prefect's logging does in a run, and as the sender of alerts does at exit: long after threads can be started.
atexit.register(lambda: logging.getLogger("resilient_tasks").info("alert sent to console", extra=run))
"""


def test_a_line_about_a_run_that_ended_is_printed_and_not_sent_to_the_api(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={"PREFECT_API_URL": "http://127.0.0.1:1/api", "HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "Flow run 'lush-otter' - alert sent to console" in done.stderr
    assert "Logging error" not in done.stderr
