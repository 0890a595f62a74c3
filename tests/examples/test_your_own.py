"""A custom policy, event and channel work together in one task."""

import re

EXPLAINED = """\
1. notify: ntfy:data-team
2. retry: 3 attempts, transient, throttled and timed-out failures
3. quota: geocoder, 10 calls a day
4. timeout: 10 s an attempt, enforce='auto'
5. the function
"""
TOLD = """\
10 of 14 addresses; the geocoder counted 10 requests
quota.low: quota geocoder: 8 of 10 calls are used

pushed to data-team, priority 4:
locate failed: RateLimited
quota geocoder: all 10 calls of the day are used
The call raised: what depends on it does not run.
<the task run>
"""


def test_the_quota_holds_the_event_warns_and_the_channel_tells(run_example, resilient_prefect):
    printed = run_example("your_own.py", PREFECT_API_URL=resilient_prefect)
    assert printed.startswith(EXPLAINED)
    told = re.sub(r"http://127\.0\.0\.1:\d+/runs/task-run/[0-9a-f-]+", "<the task run>", printed.partition("\n\n")[2])
    assert told == TOLD
