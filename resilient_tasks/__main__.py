"""`python -m resilient_tasks ...` is `resilient-tasks ...`."""

from __future__ import annotations

import sys

from resilient_tasks.cli import main

if __name__ == "__main__":
    sys.exit(main())
