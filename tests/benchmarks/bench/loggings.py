"""Two failures and a success, with the log lines of each library's own default: one line for each retry."""

import logging
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

from bench import hand
from bench.calls import BOTH, Race, failing_twice
from bench.hand import ATTEMPTS
from bench.peers import BACKOFF, RESILIX, STAMINA, TENACITY, Recipes
from bench.table import Goal, Row
from bench.timing import HAND, OURS

STRUCTLOG = "structlog, by hand"
GOAL = 0.5


def with_logging() -> Iterator[Row]:
    """Measure with standard error, and every handler, going to /dev/null: the lines are made, and written there."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        before, sys.stderr = sys.stderr, nowhere
        try:
            for is_async, place in BOTH:
                figures = Race(
                    partial(_recipes, nowhere, is_async=is_async), failing_twice, is_async=is_async
                ).measured()
                goals = [Goal(TENACITY, GOAL)]
                yield Row("two failures and a success, default logging", place, figures, goals, also_ran=[STRUCTLOG])
        finally:
            sys.stderr = before


def _logger(name: str, stream: TextIO) -> logging.Logger:
    logger = logging.getLogger(f"bench.{name}")
    if not logger.handlers:
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return logger


def _recipes(stream: TextIO, *, is_async: bool) -> Recipes:
    import backoff
    import resilix
    import stamina
    import structlog
    import tenacity

    from resilient_tasks import Retry, resilient

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(stream), cache_logger_on_first_use=True)
    stamina.instrumentation.set_on_retry_hooks(None)  # its default: structlog, where that is installed
    by_hand = _logger("hand", stream)
    lines = structlog.get_logger()
    plain = hand.logged_retry(
        lambda name, attempt, error: by_hand.warning("%s: attempt %d: %r", name, attempt, error), is_async=is_async
    )
    structured = hand.logged_retry(
        lambda name, attempt, error: lines.warning("retry", operation=name, attempt=attempt, error=repr(error)),
        is_async=is_async,
    )
    return {
        OURS: resilient(retry=Retry(attempts=ATTEMPTS, wait=0)),
        HAND: plain,
        STRUCTLOG: structured,
        TENACITY: tenacity.retry(
            stop=tenacity.stop_after_attempt(ATTEMPTS),
            wait=tenacity.wait_none(),
            before_sleep=tenacity.before_sleep_log(_logger(TENACITY, stream), logging.WARNING),
        ),
        STAMINA: stamina.retry(
            on=ConnectionError, attempts=ATTEMPTS, timeout=None, wait_initial=0, wait_max=0, wait_jitter=0
        ),
        BACKOFF: backoff.on_exception(
            backoff.constant,
            ConnectionError,
            max_tries=ATTEMPTS,
            interval=0,
            jitter=None,
            logger=_logger(BACKOFF, stream),
        ),
        RESILIX: resilix.protect.when(ConnectionError, retry=ATTEMPTS, log=_logger(RESILIX, stream).warning),
    }
