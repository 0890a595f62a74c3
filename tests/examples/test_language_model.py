"""A language model that is slow, throttles and writes broken JSON: every prompt is answered, at a bounded cost."""

import re


def test_every_prompt_is_answered_and_the_budget_stops_the_large_model(run_example):
    printed = run_example("language_model.py")
    assert "5. cost budget: delays, this run, 0.015 dollars\n6. rate limit: large-1, adapts" in printed
    rows = {name: float(number) for name, number in re.findall(r"│ (.+?) +│ ([\d.]+).*│", printed)}

    by_large, by_small = rows["answered by the large model"], rows["by the small one instead"]
    assert by_large + by_small == rows["prompts"] == 40
    assert rows["not answered"] == 0
    assert by_small > 0

    assert 0.015 <= rows["dollars"] < 0.02  # four calls may be under way when it is spent; the small model is cheap
    assert min(rows["throttled (429)"], rows["hedges won"], rows["broken JSON, asked again"]) > 0

    sent = rows["requests to large-1"] + rows["requests to small-1"]
    seen = int(re.search(r"the server counted (\d+) requests", printed)[1])
    assert rows["prompts"] < seen <= sent  # a hedge that lost may not have reached it
