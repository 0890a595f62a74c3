"""Score rows in batches by a service that refuses a whole batch for one row: bisect it, and quarantine that row.

    python examples/batch_scoring.py

A batch that the service refuses is halved until the rows at fault are alone; they go into the quarantine with what the
service said. A service that is busy is asked again, and one that is down is left alone: neither halves a batch.
"""

import argparse
import json
import math
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")  # the lines below replace many log lines

import httpx
import pandas as pd
import pandera.pandas as pa
from prefect.testing.utilities import prefect_test_harness

from resilient_tasks import (
    CircuitBreaker,
    Failed,
    InvalidData,
    Ok,
    Quarantine,
    Retry,
    Validate,
    resilient,
    resilient_flow,
    resilient_task,
)
from resilient_tasks.testing import FaultyServer, Request, Response, Status

OUT = Path("out/batch_scoring")
QUARANTINE = Quarantine(OUT / "quarantine")
BREAKER = CircuitBreaker("scoring", failures=4, open_for=60)
FEATURES = ["distance", "hour"]
MOST_REFUSED = 5  # rows of one batch: with more, the service or the whole batch is at fault

# A row that the service refused has no score, but a problem. No schema of the features foresaw it.
Scored = pa.DataFrameSchema(
    {
        "score": pa.Column(float, nullable=True),
        "problem": pa.Column(str, pa.Check(lambda problem: problem == "", name="taken by the service")),
    }
)


@dataclass(frozen=True)
class Refused:
    """The service's refusal of some of the rows, which it does not name: an answer, not a failure."""

    why: str


@resilient(retry=Retry(attempts=5, wait=0.2), breaker=BREAKER, deadline=120, idempotent=True)  # it only computes
def score(rows: pd.DataFrame) -> list[float] | Refused:
    """Return a score for each row."""
    answer = httpx.post(os.environ["SCORING_URL"], json=rows[FEATURES].to_dict("records"), timeout=10)
    if answer.status_code in {422, 500}:  # a row is at fault; with 500 the service crashed on it
        return Refused(f"{answer.status_code} {answer.text.strip().splitlines()[-1]}")
    scores: list[float] = answer.raise_for_status().json()
    return scores


def bisected(batch: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in order, each with a score, or with its problem if the service refuses it."""
    waiting, done, refused = [batch], [], 0
    while waiting:
        rows = waiting.pop()
        match score.outcome(rows):
            case Ok(list() as scores):
                done.append(rows.assign(score=scores, problem=""))
            case Ok(Refused()) if len(rows) > 1:
                half = len(rows) // 2
                waiting += [rows[half:], rows[:half]]
            case Ok(Refused(why)) if refused < MOST_REFUSED:
                done.append(rows.assign(score=math.nan, problem=why))
                refused += 1
            case Ok(Refused(why)):
                raise InvalidData(f"more than {MOST_REFUSED} rows of a batch are refused, the last one: {why}")
            case Failed(error=error):  # the service is down, or does not know us: halves would fare no better
                raise error
    return pd.concat(done)


CHECK = Validate(output=Scored, on_invalid="quarantine", quarantine=QUARANTINE, batch=lambda name: name)


@resilient_task(validate=CHECK)
def score_batch(name: str, rows: pd.DataFrame) -> pd.DataFrame:  # noqa: ARG001  # the name is that of the batch
    return bisected(rows)


@resilient_flow
def score_all(size: int = 250) -> None:
    """Score all batches that have no scores yet."""
    flights = pd.read_csv(OUT / "flights.csv")
    for first in range(0, len(flights), size):
        name, rows = f"batch-{first:04}", flights[first : first + size]
        if (OUT / "scores" / f"{name}.parquet").exists():
            continue
        match score_batch.outcome(name, rows):
            case Ok(scored):
                keep(name, scored)
                print(f"{name}: {len(scored)} of {len(rows)} rows scored")
            case Failed(error=error):
                print(f"{name}: left for the next run ({type(error).__name__})")


def keep(name: str, scored: pd.DataFrame) -> None:
    (OUT / "scores").mkdir(exist_ok=True)
    scored.drop(columns="problem").to_parquet(OUT / "scores" / f"{name}.parquet")


def put_back(correct: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Correct the waiting rows, score them, and keep the scores of those that the service accepts now."""
    for batch in QUARANTINE.list("score_batch"):
        for reasons in QUARANTINE.read(batch)["reasons"]:
            print(f"{batch.batch}: a row waits: {reasons[0]['value']}")
        done = QUARANTINE.replay(batch, Scored, fix=lambda rows: bisected(correct(rows)))
        released = QUARANTINE.release("score_batch", batch=batch.batch)  # also rows that an earlier run did not keep
        if released is not None:
            keep(f"{batch.batch}-put-back", released)
        print(f"{batch.batch}: {done.rows} put back, {done.waiting} still waiting")


# From here on: a service on this machine, so that the example runs as it is. Yours has a URL.


def model(request: Request) -> Response:
    """Score flights by a formula, and fail as such services do, without naming the row at fault."""
    rows = request.json()
    if any(row["hour"] > 23 for row in rows):
        return Response('{"detail": "a feature is out of range"}', 422)
    logits = [0.4 * math.log(row["distance"]) + 0.1 * row["hour"] - 4 for row in rows]  # 500 for a distance of 0
    return Response(json.dumps([1 / (1 + math.exp(-logit)) for logit in logits]))


def flights() -> pd.DataFrame:
    """Return 1,000 rows, of which three are poison: two in one batch and one in another."""
    rows = pd.DataFrame([{"id": n, "distance": 200 + n % 900, "hour": n % 24} for n in range(1000)])
    rows.loc[[137, 201], "distance"] = 0
    rows.loc[613, "hour"] = 24
    return rows


def show(server: FaultyServer) -> None:
    """Print where all rows are, and the number of requests since the last call."""
    scored = sum(len(pd.read_parquet(file)) for file in OUT.glob("scores/*.parquet"))
    waiting = sum(batch.waiting for batch in QUARANTINE.list())
    print(f"1000 rows: {scored} scored, {waiting} in quarantine, {1000 - scored - waiting} left for the next run")
    asked = Counter(request.status for request in server.requests[shown.total() :])
    shown.update(asked)
    print(
        f"{asked.total()} requests: {asked[200]} scored, {asked[422] + asked[500]} refused,"
        f" {asked[503] + asked[429]} while the service was down or busy\n"
    )


shown: Counter[int | None] = Counter()
BUSY = {20: Status(503), 21: Status(503), 40: Status(429, retry_after=1)}


def prefect_server() -> AbstractContextManager[None]:
    """Return a Prefect server for this run alone, unless PREFECT_API_URL names one."""
    if os.environ.get("PREFECT_API_URL"):
        return nullcontext()
    print("starting a Prefect server, which takes 10 to 60 s ...", file=sys.stderr, flush=True)
    return prefect_test_harness(server_startup_timeout=120)


def run() -> None:
    state = score_all(return_state=True)
    print(f"The run: {state.name}, {(state.message or '').partition(' in ')[0]}")


def demo() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    flights().to_csv(OUT / "flights.csv", index=False)
    os.environ |= {"NO_PROXY": "127.0.0.1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    faulty = FaultyServer(model, lambda request: BUSY.get(request.number))
    with prefect_server(), faulty as server:
        os.environ["SCORING_URL"] = f"{server.url}/score"
        print("The service is down: no batch is halved, and it is left alone after four requests.")
        server.down(4)
        run()
        show(server)
        BREAKER.close()  # so that this example need not wait a minute until the circuit lets a call through
        print("It is up again, and busy at times.")
        run()
        show(server)
        print(f"Bisecting needs at most {4 + 3 * 2 * 8}: 4 batches, and 2 × log2(250) for each row at fault.\n")
        print("A person corrects the rows that wait; the service scores them.")
        put_back(lambda rows: rows.assign(distance=rows["distance"].replace(0, 762), hour=rows["hour"] % 24))
        show(server)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    if os.environ.get("SCORING_URL"):  # the demonstration empties OUT, where the scores of that service may be
        parser.error("SCORING_URL names a service of yours: call score_all(), or unset it for the demonstration")
    demo()
