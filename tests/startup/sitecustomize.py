"""Runs first in each interpreter that a test starts, for it is on PYTHONPATH: collect garbage less often.

By default, importing Prefect or starting its server spends a fifth of its time on looking for garbage among modules.
"""

import gc

gc.set_threshold(100_000, 50, 100)
