# ruff: noqa: INP001 - a script beside the pages, and no part of a package
"""Three flows that fetch flights from one API, for the pictures of alerts."""

import os

import httpx

from resilient_tasks import Retry, Slack, resilient_flow, resilient_task

ALERTS = Slack(channel="#ml-alerts", api_url=os.environ["SLACK_API_URL"])  # and SLACK_BOT_TOKEN


@resilient_task(retry=Retry(attempts=3, wait=0.2), notify=ALERTS)
def fetch_month(month: str) -> list[dict[str, str]]:
    """Fetch the flights of one month."""
    answer = httpx.get(f"{os.environ['FLIGHTS_API']}/flights", params={"month": month}, timeout=5, trust_env=False)
    answer.raise_for_status()
    return list(answer.json())


def _fetched(months: int) -> int:
    """Fetch this many months, and return how many of them have flights."""
    outcomes = [fetch_month.outcome(f"{2013 + month // 12}-{month % 12 + 1:02}") for month in range(months)]
    return sum(not hasattr(outcome, "error") for outcome in outcomes)


@resilient_flow(name="monthly-retrain")
def retrain(months: int) -> int:
    """Retrain the model."""
    return _fetched(months)


@resilient_flow(name="daily-features")
def features(months: int) -> int:
    """Compute the features of the day."""
    return _fetched(months)


@resilient_flow(name="backfill")
def backfill(months: int) -> int:
    """Fetch what is missing."""
    return _fetched(months)
