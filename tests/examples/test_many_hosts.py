"""500 URLs of 20 hosts: no host suffers from another."""

import re
from collections import defaultdict

import pytest

ROW = re.compile(r"│ 127\.0\.0\.1:\d+ +│ (\w+) +│ (\d+) +│ (\d+) +│ (\d+) +│ (\d+) +│ [\d.]+ s +│")


@pytest.fixture
def printed(run_example, resilient_prefect):
    return run_example("many_hosts.py", PREFECT_API_URL=resilient_prefect)


def test_a_host_that_is_down_costs_few_requests_and_no_other_host_a_page(printed):
    hosts = defaultdict(list)
    for kind, *numbers in ROW.findall(printed):
        hosts[kind].append([int(number) for number in numbers])
    assert {kind: len(rows) for kind, rows in hosts.items()} == {"well": 15, "flaky": 3, "throttles": 1, "down": 1}
    assert hosts["well"] == [[25, 0, 0, 25]] * 15

    ((answered, failed, refused, requests),) = hosts["down"]
    assert (answered, failed + refused) == (0, 25)
    assert requests < 25 <= requests + refused

    ((answered, failed, refused, requests),) = hosts["throttles"]
    assert (answered + failed, refused) == (25, 0)

    assert all(answered > 20 and requests > 25 for answered, _, _, requests in hosts["flaky"])

    rows = [row for rows in hosts.values() for row in rows]
    pages, total, seen = re.search(r"(\d+) of 500 pages by (\d+) requests; the servers counted (\d+)", printed).groups()
    assert int(pages) == sum(answered for answered, *_ in rows)
    assert int(total) == int(seen) == sum(requests for *_, requests in rows)
