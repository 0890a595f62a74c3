"""Run the example: `python examples/flight_times/run.py [--seed N] [--bare] [--runner dask --store sqlite]`.

Starts the failing API, a Prefect server and a stand-in for Slack, runs the flow, holds three accounts of what happened
against each other, and writes `report.html` and `report.png`. Ends with 1 where anything does not balance.
"""

from __future__ import annotations

import argparse
import asyncio
import calendar
import contextlib
import os
import shutil
import signal
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from accounts import AGREED, EXPLANATION, Accounts
from data import DataPackageMissing, load_planes
from headline import headline
from runners import KEPT, RUNNERS, check_installed, places, task_runner
from servers import CannotStartError, Waiting, flights_api, prefect_server
from wording import counted

from resilient_tasks import PolicyError, configure
from resilient_tasks.testing.slack import FakeSlack

if TYPE_CHECKING:
    from flow import MonthResult
    from summary import RunSummary

    from resilient_tasks import RunReport

_QUIET = {
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # the demo has its own lines; Prefect's UI has them all
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "OMP_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "NO_PROXY": "*",  # all servers of the demo are on this machine
    "no_proxy": "*",
}


_UNCHANGED = 20.0  # seconds


def main() -> int:
    """Run the example, and return its exit code."""
    given = _arguments()
    out = given.out.resolve()
    for sign in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a shell starts background jobs with it ignored
        signal.signal(sign, _as_ctrl_c)
    try:
        load_planes()  # report a missing data package before anything starts
        check_installed(given.runner)
        _prepare(out, given)
        with contextlib.ExitStack() as servers:
            api = servers.enter_context(flights_api(out / "api", port=given.port, seed=given.seed, poison=given.poison))
            slack = servers.enter_context(FakeSlack())
            _say(f"the failing API is at {api}, Slack's stand-in at {slack.url}")
            prefect = servers.enter_context(prefect_server(out / "prefect", port=given.prefect_port))
            _say("loading Prefect, MLflow and scikit-learn ...")
            os.environ |= {"FLIGHT_TIMES_API": api, "SLACK_WEBHOOK_URL": slack.webhook_url}
            servers.callback(_flush_run_logs)  # while the server still runs
            code = _bare() if given.bare else _resilient(given, out, slack)
            if given.keep:
                _say(f"Prefect's UI: {prefect.removesuffix('/api')}  (Ctrl-C ends it)")
                signal.pause()
            return code
    except (DataPackageMissing, CannotStartError, PolicyError) as error:
        _say(f"cannot start: {error}")
        return 2
    except KeyboardInterrupt:
        _say(f"interrupted: every process was ended. What was quarantined is in {out / 'quarantine'}")
        return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="another schedule of faults")
    months = range(1, 13)
    parser.add_argument(
        "--poison", type=int, default=0, choices=months, metavar="MONTH", help="1 to 12: half of it in seconds"
    )
    parser.add_argument("--runner", choices=RUNNERS, default="threads", help="what runs the tasks")
    parser.add_argument("--store", default="memory", help="of circuit and budget: memory, sqlite, redis, or a URL")
    parser.add_argument("--origins", nargs="+", choices=("EWR", "JFK", "LGA"), help="airports to ask for one by one")
    parser.add_argument("--bare", action="store_true", help="the same flow with every policy off")
    parser.add_argument("--port", type=int, default=0, help="port of the flights API; 0 picks a free one")
    parser.add_argument("--prefect-port", type=int, default=0, help="port of the Prefect server; 0 picks a free one")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the run, emptied first")
    parser.add_argument("--keep", action="store_true", help="keep Prefect's UI up afterwards, to look at the run")
    return parser.parse_args()


def _prepare(out: Path, given: argparse.Namespace) -> None:
    """Empty the folders, and name them in the environment, which the processes that run tasks inherit."""
    if (out / KEPT).exists():
        raise CannotStartError(f"serve.py keeps its champions in {out}, and this run empties its folder: give --out")
    os.environ |= {**_QUIET, **places(out)}
    stores = {"memory": "memory:", "sqlite": f"sqlite:///{out / 'store.db'}", "redis": "redis://127.0.0.1:6379/0"}
    configure(
        enabled=not given.bare,
        quarantine=os.environ["RESILIENT_TASKS_QUARANTINE"],
        last_good=os.environ["RESILIENT_TASKS_LAST_GOOD"],
        incidents=os.environ["RESILIENT_TASKS_INCIDENTS"],
        events=os.environ["RESILIENT_TASKS_EVENTS"],
        store=stores.get(given.store, given.store),
    )
    for name in ("api", "prefect", "registry", "quarantine", "last_good", "events"):
        shutil.rmtree(out / name, ignore_errors=True)
    for name in ("incidents.db", "store.db"):
        for end in ("", "-wal", "-shm"):
            (out / f"{name}{end}").unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)


def _bare() -> int:
    """Run the flow without any policy, and print the error that ends it."""
    from flow import flight_times  # noqa: PLC0415  # Prefect reads its settings on import

    _say("every policy is off")
    try:
        flight_times()
    except Exception as error:
        _say(f"the flow died of its first fault: {type(error).__name__}: {error}")
        return 1
    _say("the flow survived, which it should not have")
    return 0


def _resilient(given: argparse.Namespace, out: Path, slack: FakeSlack) -> int:
    """Run the flow with its policies, compare the accounts, and report."""
    import heard  # noqa: PLC0415  # as below
    import records  # noqa: PLC0415
    import reported  # noqa: PLC0415
    from flow import flight_times  # noqa: PLC0415  # Prefect reads its settings on import
    from reading import close, gather  # noqa: PLC0415
    from registry import Registry  # noqa: PLC0415

    from resilient_tasks import RunReport  # noqa: PLC0415
    from resilient_tasks.alerts import sender  # noqa: PLC0415
    from resilient_tasks.core.events import bus  # noqa: PLC0415

    began = time.monotonic()
    waiting = Waiting("fetching twelve months, and training on each", every=15)
    with bus.listening(lambda _: waiting.report()):
        state = flight_times.with_options(task_runner=task_runner(given.runner))(
            given.seed, given.origins, return_state=True
        )
        sender.flush()
    results = state.result(raise_on_failure=False)
    if isinstance(results, BaseException):
        _say(f"the flow failed: {type(results).__name__}: {results}")
        return 1
    close(os.environ["FLIGHT_TIMES_API"])
    flow_run_id = UUID(str(state.state_details.flow_run_id))
    events = heard.of_run(flow_run_id)
    accounts = _settled(lambda: asyncio.run(gather(out / "api", events, flow_run_id)))
    report = RunReport.read(heard.folder(flow_run_id))
    booked = records.booked(Registry(out / "registry"), flow_run_id)
    problems = reported.disagreements(report.as_dict(), accounts, booked, len(slack.texts()))
    summary = _summary(given.seed, results, accounts, report, problems, time.monotonic() - began)
    return _conclude(summary, report, accounts, slack, out)


def _settled(read: Callable[[], Accounts]) -> Accounts:
    """Read the accounts until they agree or no longer change: Prefect's server stores states a few seconds late."""
    waiting = Waiting("comparing the accounts; Prefect's server takes in its states some seconds late")
    accounts, changed = read(), time.monotonic()
    while accounts.disagreements() and time.monotonic() - changed < _UNCHANGED:
        time.sleep(1)
        waiting.report()
        if (newer := read()) != accounts:
            accounts, changed = newer, time.monotonic()
    return accounts


def _summary(  # noqa: PLR0917  # all that a run left behind
    seed: int,
    results: list[MonthResult],
    accounts: Accounts,
    report: RunReport,
    problems: list[str],
    seconds: float,
) -> RunSummary:
    from summary import Month, RunSummary  # noqa: PLC0415

    months = []
    for name, result in zip(calendar.month_name[1:], results, strict=True):
        trained = result.trained
        months.append(
            Month(
                month=result.month,
                trained=trained is not None,
                promoted=trained is not None and trained.promoted,
                frozen_rmse=trained.frozen if trained else None,
                champion_rmse=trained.champion if trained else None,
                challenger_rmse=trained.challenger if trained else None,
                note=result.note,
                read=result.announced,
                used=result.used,
                missing=result.missing,
                quarantined=accounts.quarantined_in(name),
                degraded=result.degraded,
                faults_by_page=accounts.faults_in(name),
                drift=result.drift,
                absent=result.absent,
                withheld=result.withheld,
                verdict=str(trained or ""),
            )
        )
    reasons: Counter[str] = Counter()
    for rows in report.as_dict()["rows"]:
        reasons.update(rows["reasons"])
    problems = [*accounts.disagreements(), *problems]
    problems += [f"{month.month}: rows do not balance" for month in months if not month.balances]
    ends = report.recovered, report.degraded, report.failed
    return RunSummary(seed, tuple(months), reasons, *ends, seconds, tuple(problems))


def _conclude(summary: RunSummary, report: RunReport, accounts: Accounts, slack: FakeSlack, out: Path) -> int:
    import figure  # noqa: PLC0415  # matplotlib, only once there is something to draw
    import figure_champions  # noqa: PLC0415
    import page  # noqa: PLC0415
    import records  # noqa: PLC0415
    import reported  # noqa: PLC0415
    from registry import Registry  # noqa: PLC0415

    months = records.read(Registry(out / "registry"))
    figure.draw(summary, out / "report.png")
    if months:
        figure_champions.draw(months, out / "champions.png")
    page.write(summary, report, accounts.summary(), months, out / "report.html")
    print(f"\n{report.text()}\n")
    for text in slack.texts():
        print(f"Slack got: {text.splitlines()[0]}")
    print(f"\n{headline(summary)} ({summary.seconds:.0f} s)")
    for month in summary.months:
        print(f"{month.month} {month.verdict or month.note}")
    print(_drift(summary))
    print(_rows(summary))
    print(f"\n{textwrap.fill(EXPLANATION, 100)}")
    for line in accounts.summary():
        print(f"· {line}")
    for problem in summary.problems:
        print(f"DOES NOT BALANCE: {problem}")
    if not summary.problems:
        print(f"{AGREED} 0 rows lost.\n{reported.AGREED}")
    print(f"\n{out / 'report.html'}\n{out / 'report.png'}")
    return 1 if summary.problems else 0


def _rows(summary: RunSummary) -> str:
    names = ("used", "missing", "quarantined", "withheld")
    rows = {name: sum(getattr(month, name) for month in summary.months) for name in names}
    read, absent = (sum(getattr(month, name) for month in summary.months) for name in ("read", "absent"))
    sign = "=" if read == sum(rows.values()) else "≠"
    parts = " + ".join(f"{count:,} {name}" for name, count in rows.items() if count or name != "withheld")
    text = f"{read:,} rows read {sign} {parts}."
    return f"{text} {counted(absent, 'row')} never came." if absent else text


def _drift(summary: RunSummary) -> str:
    unlike = [month.month for month in summary.months if month.drift]
    kept_out = [month for month in summary.months if "drifted:" in month.note]
    if not unlike:
        return "No month was unlike the one that the champion was trained on."
    return (
        f"{counted(len(unlike), 'month')} unlike the one that the champion was trained on ({', '.join(unlike)});"
        f" {len(kept_out)} of them so much that they were not trained on."
    )


def _flush_run_logs() -> None:
    from prefect.logging.handlers import APILogHandler  # noqa: PLC0415  # Prefect reads its settings on import

    APILogHandler().flush()


def _say(text: str) -> None:
    print(text, flush=True)


def _as_ctrl_c(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
