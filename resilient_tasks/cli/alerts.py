"""`resilient-tasks alerts ...`: incidents, silences, and automations for crashed runs."""

from __future__ import annotations

import argparse

from resilient_tasks.cli import _incidents, _install
from resilient_tasks.cli.printing import Rooms


def add_to(rooms: Rooms) -> None:
    """Add these commands to the command line's."""
    alerts = rooms.add_parser("alerts", help="list and silence alerts, and install those for crashed flow runs")
    commands = alerts.add_subparsers(required=True, metavar="list|silence|unsilence|install|uninstall")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON, for machines")
    _incidents.add_to(commands)
    _install.add_to(commands, common)
