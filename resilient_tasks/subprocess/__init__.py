"""Functions in child processes, which can really be ended: for `Timeout(..., enforce="process")`.

Why not a library: both that were tried kill at a limit, but the subprocesses of what they kill live on. `pebble`
(5.2) has no place for closures and functions of `__main__`, and after each kill waits 0.2 s for a new interpreter that
must then import everything anew. `loky` (3.7) carries any function but knows no limit: only its whole pool can be
killed, and a new one takes 0.5 s. Neither carries log records or real tracebacks. Ending work is what this library is
for, so this room does it: children are forked from a single-threaded server that has the modules loaded already.
"""
