"""Functions in child processes that can be killed: for `Timeout(..., enforce="process")`.

Why no library, and not `multiprocessing`: what a killed function has started must end with it, and log records, events
and real tracebacks must arrive. `pebble` (5.2) kills at a limit, but leaves subprocesses running, cannot send closures
or functions of `__main__`, and starts a new interpreter after each kill. `loky` (3.7) sends any function, but can only
kill its whole pool. The fork server of `multiprocessing` (CPython 3.11 to 3.13) imports modules by name, at its own
start only; it cannot report whether it may still be forked; its children import `__main__`, which then needs a guard;
and when it ends, its grandchildren live on.
"""
