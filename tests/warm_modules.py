"""What the process imports from which those of `warm_processes` are forked.

Not the library itself: it reads the environment when it is imported.
"""

import contextlib
import gc
import importlib

for name in (
    *(
        "pandas",
        "pandera.pandas",
        "pyarrow.parquet",
        "prefect.flow_engine",
        "prefect.task_engine",
        "prefect.task_runners",
    ),
    *("prefect.client.orchestration", "distributed", "distributed.nanny", "prefect_dask"),
):
    with contextlib.suppress(ImportError):  # not installed
        importlib.import_module(name)
gc.freeze()  # what all share is not to be looked through, and so copied, by each
