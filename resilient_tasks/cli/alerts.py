"""`resilient-tasks alerts ...`: incidents, silences, and automations for crashed runs."""

from __future__ import annotations

import argparse

from resilient_tasks.cli import _incidents, _install
from resilient_tasks.cli.printing import Subparsers


def add_to(subparsers: Subparsers) -> None:
    """Add this group of commands."""
    alerts = subparsers.add_parser(
        "alerts", help="list incidents, silence alerts, and install alerts for crashed flow runs"
    )
    commands = alerts.add_subparsers(required=True, metavar="list|silence|unsilence|install|uninstall")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print JSON")
    _incidents.add_to(commands)
    _install.add_to(commands, common)
