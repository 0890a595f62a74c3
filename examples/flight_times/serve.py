"""Serve `retrain_month` on a schedule: `python examples/flight_times/serve.py [--cron "*/10 * * * *"] [--seed N]`.

Each run takes the next month that has had none, unless a month is given in Prefect's UI. A Prefect server has to run
(`prefect server start`), and PREFECT_API_URL to name it. The example's failing API is started beside, unless
FLIGHT_TIMES_API names one that runs already.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path

from data import DataPackageMissing, load_planes
from runners import KEPT, places
from servers import CannotStartError, flights_api

_MONTHLY = "0 6 1 * *"  # at six on the first of each month


def main() -> int:
    """Serve until Ctrl-C or SIGTERM; return 2, with an error message, if it cannot start."""
    given = _given()
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, _as_ctrl_c)
    try:
        load_planes()  # report a missing data package before anything starts
        _prepare(given.out.resolve())
        _has_a_server()
        with contextlib.ExitStack() as servers:
            if not os.environ.get("FLIGHT_TIMES_API"):
                api = servers.enter_context(flights_api(given.out.resolve() / "api", seed=given.seed))
                os.environ["FLIGHT_TIMES_API"] = api
            print(
                f"the flights API is {os.environ['FLIGHT_TIMES_API']}, everything is written to {given.out}", flush=True
            )
            _serve(given)
    except (DataPackageMissing, CannotStartError) as error:
        print(f"cannot start: {error}")
        return 2
    except KeyboardInterrupt:
        print("stopped: nothing runs on schedule any more")
    return 0


def _given() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cron", default=_MONTHLY, help=f'schedule in cron form; default: "{_MONTHLY}"')
    parser.add_argument("--seed", type=int, default=1, help="of the API's faults, and of the flow's draws")
    out = Path(os.environ.get("FLIGHT_TIMES_OUT", "out"))
    parser.add_argument("--out", type=Path, default=out, help="folder for everything that the runs write")
    return parser.parse_args()


def _prepare(out: Path) -> None:
    """Put the folders into the environment, which the processes of the runs inherit."""
    out.mkdir(parents=True, exist_ok=True)
    (out / KEPT).touch()
    for name, value in places(out).items():
        if name == "FLIGHT_TIMES_OUT":
            os.environ[name] = value
        else:
            os.environ.setdefault(name, value)


def _has_a_server() -> None:
    from prefect.settings import get_current_settings  # noqa: PLC0415  # Prefect reads its settings on import

    if not get_current_settings().api.url:
        raise CannotStartError("PREFECT_API_URL names no server: start one with `prefect server start`, and set it")


def _serve(given: argparse.Namespace) -> None:
    from flow import retrain_month  # noqa: PLC0415  # Prefect reads its settings on import

    retrain_month.serve("monthly", cron=given.cron, parameters={"month": "next", "seed": given.seed})


def _as_ctrl_c(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
