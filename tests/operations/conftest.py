"""A Prefect server of the tests' own, as a user would start it, and an S3."""

import logging
import sys
from pathlib import Path

import pytest
from prefect.events.worker import EventsWorker

sys.path.insert(0, str(Path(__file__).parent))
import warm_programs  # as `running`, which knows where it is
from running import Server
from s3 import S3


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory):
    """A server that runs for the whole session: `.url`, `.env` for commands against it, `.prefect("config", "view")`.

    Its home, profile and database are its own. It must not be stopped: who needs that starts a `Server`.
    """
    few = {"PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "5"}  # of a schedule, not a hundred
    server = Server(tmp_path_factory.mktemp("server"), more=few)
    try:
        with pytest.MonkeyPatch.context() as patch:  # a fixture of the session is made before those of its first file
            warm_programs.use(patch)
            server.start()
        yield server
        EventsWorker.drain_all(timeout=60)  # or else the end of the tests would wait for this server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def s3():
    """An S3 with the bucket `flights`, for the tests of one module."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = S3().start()
    server.empty()
    server.make("flights")
    try:
        yield server
    finally:
        server.stop()
