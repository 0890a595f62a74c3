"""Features that the libraries lack: their figures do not include them."""

_RUNS_ON = "a sync call over its limit runs on in its thread, without a fence"

LEFT_OUT = {
    "grit-toolkit": "no events, no notes on errors; state in one process. In the main thread its limit takes the timer"
    f" from a limit around it; elsewhere {_RUNS_ON}",
    "nopanic": f"no notes on errors; state in one process (Redis in a package of its own); {_RUNS_ON}; hedges async"
    " calls only",
    "resilix": f"no notes on errors; state in one process; {_RUNS_ON}; for sync calls its deadline bounds"
    " the waits only",
    "crashbytes-resilience": f"no events, no notes on errors; state in one process; {_RUNS_ON}, which keeps the process"
    " alive; an open circuit that is tried again lets all calls through at once",
    "pyresilience": "no notes on errors; state in one process; a sync call over its limit runs on in a thread of a"
    " small pool, and holds that until it ends",
    "interlock-cb": f"no notes on errors; state in one process or in Redis; {_RUNS_ON}",
    "hyx": "async only; no events, no notes on errors; state in one process; its rate limit counts down without a look"
    " at the clock until its bucket is empty, and lets twice the bucket through at once",
    "redress": f"no notes on errors; state in one process; {_RUNS_ON}",
    "tenacity": "retries only; no kinds of failure; no limit that ends an attempt",
    "stamina": "retries only; no limit that ends an attempt",
    "backoff": "retries only; no limit that ends an attempt",
    "pybreaker": "a breaker only; its lock is held during the call, so calls take turns; state in one process or Redis",
    "purgatory": "a breaker only; takes no lock; state in one process or in Redis",
    "pebble": "what the function has started lives on when it is killed; no log lines, events, tracebacks of the child",
    "loky": "no limit for a call; no log lines, events, tracebacks of the child",
}
