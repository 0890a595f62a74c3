"""What the libraries leave out that ours does: it is not in their figures."""

LEFT_OUT = {
    "grit-toolkit": "no events, and no notes on the error it raises; state in one process. In the main thread its limit"
    " takes the timer from a limit around it; in a worker thread what is over its limit runs on, without a fence",
    "nopanic": "no notes on errors; state in one process (Redis in a package of its own). A sync call over its limit"
    " runs on in its thread; hedges async calls only",
    "resilix": "no notes on errors; state in one process. A sync call over its limit runs on in its thread; its deadline"
    " for sync calls bounds the waits only; its bulkhead has a queue without an end, or none",
    "crashbytes-resilience": "no events, no notes on errors; state in one process. A sync call over its limit runs on in"
    " its thread, which keeps the process alive; its open circuit lets all calls through at once when it is tried again",
    "pyresilience": "no notes on errors; state in one process. A sync call over its limit runs on in a thread of a small pool,"
    " and holds it until it ends",
    "interlock-cb": "no notes on errors; state in one process or in Redis. A sync call over its limit runs on in its thread",
    "hyx": "async only; no events, no notes on errors; state in one process. Its rate limit counts down without a look"
    " at the clock until its bucket is empty",
    "redress": "no notes on errors; state in one process. A sync call over its limit runs on in its thread",
    "tenacity": "retries only; no kinds of failure, no limit for all attempts that ends one",
    "stamina": "retries only; no limit for all attempts that ends one",
    "backoff": "retries only; no limit for all attempts that ends one",
    "pybreaker": "a breaker only; its lock is held during the call, so that calls take turns; state in one process or in"
    " Redis",
    "purgatory": "a breaker only; takes no lock; state in one process or in Redis",
    "pebble": "what the function has started lives on when it is killed; no log lines, events or tracebacks of the child",
    "loky": "no limit for a call; no log lines, events or tracebacks of the child",
}
