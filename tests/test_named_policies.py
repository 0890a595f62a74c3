"""Policies by name, from a TOML file and the environment: `policy="flights-api"`."""

import pickle
import warnings

import cloudpickle
import pytest

from resilient_tasks import (
    AdaptiveRateLimit,
    CircuitBreaker,
    Email,
    Kind,
    LastGood,
    PolicyError,
    RateLimit,
    Retry,
    Slack,
    Timeout,
    Webhook,
    resilient,
)
from resilient_tasks.core import policy_file, settings
from resilient_tasks.decorators import named
from resilient_tasks.decorators.decorate import replaced

EVERYTHING = """
[tool.resilient_tasks.policies.flights-api]
retry = {attempts = 5, wait = [1, "2 s"], on = ["TRANSIENT", "httpx.ReadTimeout", "OSError", "TimedOut"]}
deadline = "2 min"
timeout = {seconds = 20, enforce = "process"}
breaker = {failures = 3, open_for = "1 min"}
rate_limit = {calls = 10, per = "1 s"}
bulkhead = {limit = 4, queue = 2}
hedge = {after = "200ms", attempts = 3}
single_flight = {shared = true}
idempotent = true
fallback = {last_good = {max_age = "2d", on = "timeout", otherwise = {value = 0}}}

[tool.resilient_tasks.policies.flights-api.notify]
cooldown = "10 min"
console = true
slack = [{channel = "#a", severity = "error"}, "#b"]
email = {to = "ops@example.org", host = "smtp.example.org"}
"""


class MyError(Exception):
    """An error that a file names."""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Begin in an empty folder, without variables of ours."""
    monkeypatch.delenv(policy_file.CONFIG, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(here):
    """`write("retry = 5")` puts the policy `api` into `pyproject.toml`."""

    def written(text, path="pyproject.toml"):
        (here / path).parent.mkdir(parents=True, exist_ok=True)
        head = "" if text.lstrip().startswith("[") else "[tool.resilient_tasks.policies.api]\n"
        (here / path).write_text(head + text, encoding="utf-8")

    return written


def policies(name="api", **options):
    decorated = resilient(policy=name, **options)(lambda value=None: value)
    return {policy.slot: policy for policy in decorated.__resilient__.pipeline.policies}


def refusal(name="api", **options):
    with pytest.raises(PolicyError) as refused:
        policies(name, **options)
    return str(refused.value)


def test_a_table_gives_every_keyword_that_it_has(write):
    write(EVERYTHING)
    found = policies("flights-api")
    retry = found["retry"]
    assert (retry.attempts, retry.wait) == (5, (1.0, 2.0))
    assert found["deadline"].seconds == 120
    assert (found["timeout"].seconds, found["timeout"].enforce) == (20, "process")
    assert (found["breaker"].name, found["breaker"].failures, found["breaker"].open_for) == ("flights-api", 3, 60)
    assert (found["rate limit"].name, found["rate limit"].calls) == ("flights-api", 10)
    assert (found["bulkhead"].name, found["bulkhead"].queue) == ("flights-api", 2)
    assert (found["hedge"].after, found["hedge"].attempts) == (0.2, 3)
    assert found["single flight"].shared is True
    assert isinstance(found["fallback"], LastGood)
    names = [channel.to.name for channel in found["notify"].channels]
    assert sorted(names) == ["console", "email:ops@example.org", "slack:#a", "slack:#b"]
    assert found["notify"].cooldown == 600


def test_failures_are_named_by_kind_by_builtin_by_ours_and_by_module(write):
    import httpx

    write(EVERYTHING)
    fails = policies("flights-api")["retry"]._retries
    assert fails(httpx.ReadTimeout("slow"))
    assert fails(FileNotFoundError())
    assert not fails(KeyError("a"))
    assert named.failures_named(["throttled", "TimedOut"])[0] is Kind.THROTTLED


@pytest.mark.parametrize("name", [f"{__name__}.MyError", f"{__name__}:MyError"])
def test_the_projects_own_exceptions_are_imported(monkeypatch, name):
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or type(sys)(__name__))
    monkeypatch.setattr(sys.modules[__name__], "MyError", MyError, raising=False)
    assert named.failures_named(name) == [MyError]


def test_a_call_obeys_the_policy(write, drive, flaky):
    write("retry = {attempts = 3, wait = 0.001}")
    fetch = flaky(ConnectionError(), ConnectionError())
    assert drive(fetch, policy="api")() == "done"
    assert fetch.calls == 3


def test_a_keyword_beside_it_replaces_the_one_of_the_table(write):
    write("retry = 5\ntimeout = 20")
    found = policies(retry=2, timeout=None)
    assert found.keys() == {"retry"}
    assert found["retry"].attempts == 2


def test_policies_beside_it_add_to_the_table(write):
    write("retry = 5")
    assert policies(policies=[Timeout(3)]).keys() == {"retry", "timeout"}


def test_false_switches_a_keyword_off(write):
    write("retry = 5\nbreaker = false\nsingle_flight = false")
    assert policies().keys() == {"retry"}


def test_true_stands_for_the_defaults_if_there_are_any(write):
    write("retry = true\nbreaker = true\nnotify = {console = true}")
    found = policies()
    assert (found["retry"].attempts, found["breaker"].name) == (3, "api")


def test_an_adaptive_limit_has_a_table_of_its_own(write):
    write("rate_limit = {adaptive = {start = 5}}")
    assert isinstance(policies()["rate limit"], AdaptiveRateLimit)
    assert policies()["rate limit"].name == "api"


def test_the_policies_travel_in_the_plan_so_that_a_worker_needs_no_file(write, here):
    write("retry = {attempts = 7, on = 'OSError'}")
    sent = cloudpickle.dumps(resilient(policy="api")(lambda: 1))
    (here / "pyproject.toml").unlink()
    plan = pickle.loads(sent).__resilient__
    assert plan.pipeline.policies[0].attempts == 7
    assert plan.named.name == "api"
    assert plan.named.place.endswith("pyproject.toml")


# Which file.


def test_the_file_is_found_in_a_folder_above(write, here, monkeypatch):
    write("retry = 5")
    (here / "a/b").mkdir(parents=True)
    (here / "a/pyproject.toml").write_text("[project]\nname = 'other'\n")  # nothing of this library
    monkeypatch.chdir(here / "a/b")
    assert policies()["retry"].attempts == 5


def test_the_nearest_file_is_the_one(write, here, monkeypatch):
    write("retry = 5")
    write("[policies.api]\nretry = 2", "a/resilient_tasks.toml")
    monkeypatch.chdir(here / "a")
    assert policies()["retry"].attempts == 2


@pytest.mark.parametrize("head", ["[policies.api]", "[tool.resilient_tasks.policies.api]"])
def test_the_environment_names_a_file_of_any_name(write, here, monkeypatch, head):
    write("retry = 5")
    write(f"{head}\nretry = 9", "etc/limits.toml")
    monkeypatch.setenv(policy_file.CONFIG, "etc/limits.toml")
    assert policies()["retry"].attempts == 9


def test_a_project_without_a_table_that_the_environment_names_is_refused_with_the_table(write, monkeypatch):
    write("[project]\nname = 'other'\n")
    monkeypatch.setenv(policy_file.CONFIG, "pyproject.toml")
    assert "has no policy 'api': write the table [tool.resilient_tasks.policies.api]" in refusal()


def test_a_file_that_has_changed_is_read_again(write):
    write("retry = 5")
    assert policies()["retry"].attempts == 5
    write("retry = 12")
    assert policies()["retry"].attempts == 12


def test_two_files_in_one_folder_are_refused(write):
    write("retry = 5")
    write("[policies.api]\nretry = 5", "resilient_tasks.toml")
    assert "has policies in resilient_tasks.toml and in pyproject.toml: keep them in one" in refusal()


def test_a_missing_file_is_refused_by_name(monkeypatch):
    monkeypatch.setenv(policy_file.CONFIG, "nowhere.toml")
    assert "RESILIENT_TASKS_CONFIG=nowhere.toml names no file" in refusal()


def test_without_a_file_the_message_says_where_to_write_the_table():
    assert (
        "no file has the policy 'api': write the table [tool.resilient_tasks.policies.api] into pyproject" in refusal()
    )


# What is refused, always with the file, the table and the key.

WRONG = {
    "retry = {attempts = 0}": ["pyproject.toml, retry: Retry(attempts=...)", "1 or more"],
    "retry = {atempts = 5}": ["retry: it has no 'atempts': did you mean attempts?"],
    "retri = 5": ["a policy has no keyword 'retri': did you mean retry?"],
    "retry = {on_result = 'x'}": ["retry.on_result: only code can give it: write retry=... in the decorator"],
    "fallback = {use = 'f'}": ["fallback.use: only code can give it"],
    "single_flight = {key = 'f'}": ["single_flight.key: only code can give it"],
    "validate = {max_invalid = 0.1}": ["validate: a schema is code"],
    "policies = []": ["policies: write each policy under its own keyword"],
    "timeout = true": ["timeout: it is a table, such as {seconds = ...}, not True"],
    "timeout = 'soon'": ["timeout: Timeout(seconds) is a number of seconds above 0, not 'soon'"],
    "deadline = 00:02:00": ["deadline: Deadline(seconds) is a number of seconds"],
    "rate_limit = 10": ["rate_limit: it is a table, such as {calls = ..., per = ...}, not 10"],
    "rate_limit = {start = 10}": ["rate_limit: it has no 'start'", "adaptive"],
    "rate_limit = {calls = 1, per = 1, adaptive = {}}": ["rate_limit: it has 'adaptive', and 'calls' and 'per' beside"],
    "bulkhead = {}": ["bulkhead", "limit"],
    "retry = {on = 'TRANSIENTS'}": ["retry.on: 'TRANSIENTS' is no kind", "did you mean TRANSIENT?"],
    "retry = {on = 'ReadTimeout'}": ["retry.on: 'ReadTimeout' is no kind", "write its module too"],
    "retry = {on = 'httpx.ReadTimeot'}": ["httpx has no ReadTimeot: did you mean ReadTimeout?"],
    "retry = {on = 'no_such.Thing'}": ["there is no module no_such"],
    "retry = {on = 'httpx.get'}": ["'httpx.get' is no exception type"],
    "retry = {on = 'KeyboardInterrupt'}": ["'KeyboardInterrupt' is no exception type"],
    "retry = {on = [429]}": ["retry.on: it takes the names of kinds"],
    "breaker = {on = []}": ["breaker: CircuitBreaker(on=...) is empty"],
    "breaker = {enforce = 'process'}": ["breaker"],
    "idempotent = 'yes'": ["idempotent: it is true or false, not 'yes'"],
    "notify = '#x'": ["notify: it is a table of channels"],
    "notify = {cooldown = 5}": ["notify: it names no channel"],
    "notify = {slak = '#x'}": ["notify: it has no 'slak': did you mean slack?"],
    "notify = {slack = {channel = '#x', chanel = 1}}": ["notify.slack: it has no 'chanel': did you mean channel?"],
    "notify = {slack = {token = 'xoxb-1', channel = '#x'}}": ["notify.slack.token: a secret", "set SLACK_BOT_TOKEN"],
    "notify = {slack = {channel = '#x', severity = 'bad'}}": ["notify.slack: Route(severity=...) is one of"],
    "notify = {console = true, fallback = {slack = '#x', console = true}}": ["notify.fallback: it is one channel"],
}


@pytest.mark.parametrize(("text", "parts"), WRONG.items(), ids=WRONG)
def test_a_mistake_is_refused_with_the_file_the_table_and_the_key(write, text, parts):
    write(text)
    sentence = refusal()
    assert "[tool.resilient_tasks.policies.api] in " in sentence
    for part in parts:
        assert part in sentence


BROKEN = {
    "[tool.resilient_tasks.policies.api": "pyproject.toml is not valid TOML: ",
    "[tool.resilient_tasks.policy.api]\nretry = 5": "has the unknown key 'policy': did you mean policies?",
    "[tool.resilient_tasks]\nstore = 'sqlite:///a'": "settings are in the environment; write RESILIENT_TASKS_STORE",
    "[tool.resilient_tasks.policies]\nretry = 5": "has 'retry' without the name of a policy: write",
    "[tool.resilient_tasks]\npolicies = 5": "policies is a table of tables",
    "[tool.resilient_tasks.policies.apis]\nretry = 5": "has no policy 'api': did you mean apis? There is apis",
    "[tool.resilient_tasks.policies.a.pi]\nretry = 5": "has no policy 'api'",
}


@pytest.mark.parametrize(("text", "part"), BROKEN.items(), ids=BROKEN)
def test_a_broken_file_is_refused_by_name(write, text, part):
    write(text)
    sentence = refusal()
    assert part in sentence
    assert "pyproject.toml" in sentence


def test_a_name_with_a_dot_needs_quotes_and_the_message_says_so(write):
    write("[tool.resilient_tasks.policies.flights.api]\nretry = 5")
    assert 'A name with dots needs quotes: "flights.api"' in refusal("flights")


@pytest.mark.parametrize("given", [Retry(attempts=3), 5, "", ["api"], True])
def test_policy_takes_a_name(given):
    assert "policy= is the name of a policy in pyproject.toml" in refusal(given)


def test_a_name_for_policies_is_refused_with_policy():
    with pytest.raises(PolicyError, match="write policy='api' for the policy of that name"):
        resilient(policies="api")(lambda: 1)


@pytest.mark.parametrize("word", ["profile", "preset", "policy_name"])
def test_another_word_for_policy_is_refused_with_ours(word):
    with pytest.raises(PolicyError, match=r"did you mean policy=\?"):
        resilient(**{word: "api"})(lambda: 1)


def test_a_secret_may_be_in_a_file_that_is_not_the_projects(write):
    write("[policies.api]\nnotify = {slack = {token = 'xoxb-1-2', channel = '#x'}}", "resilient_tasks.toml")
    assert policies()["notify"].channels[0].to.name == "slack:#x"


def test_a_secret_is_not_repeated_in_a_message(write):
    write("notify = 'https://hooks.slack.com/services/T00000000/B00000000/abcdefghijklmnopqrstuvwx'")
    assert "abcdefghijkl" not in refusal()


# The environment.


@pytest.fixture
def variable(monkeypatch):
    """`variable(RETRY__ATTEMPTS="8")` sets the variables of the policy `flights-api`."""

    def set_to(**values):
        for name, value in values.items():
            monkeypatch.setenv(f"{policy_file.VARIABLES}FLIGHTS_API__{name}", value)

    return set_to


FLIGHTS = "[tool.resilient_tasks.policies.flights-api]\n"


@pytest.mark.parametrize("before", ["retry = 5", "retry = {attempts = 5}", "timeout = 20", "retry = false"])
def test_a_variable_changes_one_number(write, variable, before):
    write(FLIGHTS + before)
    variable(RETRY__ATTEMPTS="8")
    assert policies("flights-api")["retry"].attempts == 8


@pytest.mark.parametrize(
    ("values", "place", "expected"),
    [
        ({"RETRY": "9"}, "retry.attempts", 9),
        ({"RETRY__WAIT": "2 s"}, "retry.wait", 2.0),
        ({"RETRY__WAIT": "[1, 2]"}, "retry.wait", (1.0, 2.0)),
        ({"RETRY": "{attempts = 4}"}, "retry.attempts", 4),
        ({"RETRY": '{"attempts": 4}'}, "retry.attempts", 4),
        ({"RETRY": "3", "RETRY__WAIT": "1"}, "retry.attempts", 3),
        ({"TIMEOUT": "20s"}, "timeout.seconds", 20.0),
        ({"BREAKER__FAILURE_RATE": "0.25"}, "breaker.failure_rate", 0.25),
        ({"RETRY__BUDGET__SHARE": "0.3"}, "retry.budget.share", 0.3),
        ({"RATE_LIMIT__ADAPTIVE__START": "3"}, "rate limit.start", 3),
    ],
)
def test_a_variable_is_read_as_toml_or_json_or_as_text(write, variable, values, place, expected):
    write(FLIGHTS + "retry = 5")
    variable(**values)
    slot, *parts = place.split(".")
    found = policies("flights-api")[slot]
    for part in parts:
        found = getattr(found, part)
    assert found == expected


def test_a_variable_switches_a_policy_off(write, variable):
    write(FLIGHTS + "retry = 5\nbreaker = true")
    variable(BREAKER="false")
    assert policies("flights-api").keys() == {"retry"}


def test_a_channel_is_a_text_although_it_begins_with_a_number_sign(write, variable):
    write(FLIGHTS + "notify = {slack = '#a'}")
    variable(NOTIFY__SLACK__CHANNEL="#b")
    assert policies("flights-api")["notify"].channels[0].to.name == "slack:#b"


def test_a_secret_in_the_environment_is_accepted(write, variable):
    write(FLIGHTS + "notify = {slack = '#a'}")
    variable(NOTIFY__SLACK__TOKEN="xoxb-1-2")
    assert policies("flights-api")["notify"].channels[0].to.token == "xoxb-1-2"


@pytest.mark.parametrize("token", ["123456", "1e5", "true", "[1]", "{a=1}", "2024-01-01", "a#b"])
def test_a_secret_may_look_like_any_value(write, variable, token):
    write(FLIGHTS + "notify = {slack = '#a'}")
    variable(NOTIFY__SLACK__TOKEN=token)
    assert policies("flights-api")["notify"].channels[0].to.token == token


def test_a_name_may_look_like_a_number(write, variable):
    write(FLIGHTS + "breaker = true")
    variable(BREAKER__NAME="2024")
    assert policies("flights-api")["breaker"].name == "2024"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOTIFY", '{slack = {channel = "#b", token = "xoxb-1#2"}}'),
        ("NOTIFY", '{"slack": {"channel": "#b",\n"token": "xoxb-1#2"}}'),
        ("NOTIFY__SLACK", '{channel = "#b", token = "xoxb-1#2"}  # the new one'),
        ("NOTIFY__SLACK", '[\n  {channel = "#b", token = "xoxb-1#2"},\n]'),
    ],
)
def test_a_variable_may_be_a_table_or_a_list_with_number_signs_and_a_token(write, variable, name, value):
    write(FLIGHTS + "notify = {slack = '#a'}")
    variable(**{name: value})
    (channel,) = policies("flights-api")["notify"].channels
    assert (channel.to.channel, channel.to.token) == ("#b", "xoxb-1#2")


def test_a_variable_beside_it_does_not_excuse_a_secret_in_the_file_of_the_project(write, variable):
    write(FLIGHTS + "notify = {slack = {channel = '#a', token = 'xoxb-1'}}")
    variable(NOTIFY__SLACK__CHANNEL="#b", NOTIFY__EMAIL='{to = "a@example.org", host = "smtp"}')
    assert "a secret does not belong into a file of the project" in refusal("flights-api")


@pytest.mark.parametrize("value", ["5 # five", "5\n# five", "5\nother = 1"])
def test_a_text_is_not_cut_at_what_would_be_a_comment(write, variable, value):
    write(FLIGHTS + "fallback = {value = 'a'}")
    variable(FALLBACK__VALUE=value)
    assert policies("flights-api")["fallback"].value == value


def test_a_list_is_not_cut_at_the_end_of_its_line(write, variable):
    write(FLIGHTS + "fallback = {value = 'a'}")
    variable(FALLBACK__VALUE="[1]\nother = 1")
    assert policies("flights-api")["fallback"].value == "[1]\nother = 1"


@pytest.mark.parametrize(
    ("name", "value"), [("NOTIFY", '{slack = "#a"'), ("NOTIFY__SLACK", '{channel: "xoxb-12345678"}')]
)
def test_a_table_that_cannot_be_read_is_refused_and_not_taken_for_a_text(write, variable, name, value):
    write(FLIGHTS + "notify = {slack = '#a'}")
    variable(**{name: value})
    sentence = refusal("flights-api")
    assert "is neither TOML nor JSON" in sentence
    assert "xoxb-12345678" not in sentence


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        (
            "TOKEN",
            "set SLACK_BOT_TOKEN in the environment, for all of them, or write the whole list into RESILIENT_TASKS_",
        ),
        (
            "CHANNEL",
            "channels of slack it changes: write the whole list into RESILIENT_TASKS_POLICIES__FLIGHTS_API__NOTIFY",
        ),
    ],
)
def test_a_variable_for_one_of_several_channels_is_refused_with_what_to_write(write, variable, name, advice):
    write(FLIGHTS + "notify = {slack = [{channel = '#a'}, '#b']}")
    variable(**{f"NOTIFY__SLACK__{name}": "xoxb-1"})
    assert advice in refusal("flights-api")


def test_a_variable_changes_the_only_channel_of_a_list(write, variable):
    write(
        FLIGHTS + "notify = {slack = [{channel = '#a'}], email = {to = ['a@example.org', 'b@example.org'], host = 'x'}}"
    )
    variable(NOTIFY__SLACK__TOKEN="xoxb-1", NOTIFY__EMAIL__HOST="smtp.example.org")
    slack, email = (each.to for each in policies("flights-api")["notify"].channels)
    assert (slack.channel, slack.token, email.host) == ("#a", "xoxb-1", "smtp.example.org")


def test_an_empty_variable_changes_nothing(write, variable):
    write(FLIGHTS + "retry = 5")
    variable(RETRY__ATTEMPTS="")
    assert policies("flights-api")["retry"].attempts == 5


def test_what_is_written_in_code_is_stronger_than_a_variable(write, variable):
    write(FLIGHTS + "retry = 5")
    variable(RETRY__ATTEMPTS="8")
    assert policies("flights-api", retry=2)["retry"].attempts == 2


def test_a_wrong_value_is_refused_with_its_variable(write, variable):
    write(FLIGHTS + "retry = 5")
    variable(RETRY__ATTEMPTS="many")
    sentence = refusal("flights-api")
    assert "RESILIENT_TASKS_POLICIES__FLIGHTS_API__RETRY__ATTEMPTS in the environment" in sentence


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("RETRY__ATEMPTS", "RETRY has no ATEMPTS: did you mean ATTEMPTS?"),
        ("RETRI", r"a policy has no keyword RETRI: did you mean RETRY?"),
        ("RETRY__ATTEMPTS__MORE", "ATTEMPTS of RETRY has no parts"),
        ("VALIDATE__MAX_INVALID", "a policy has no keyword VALIDATE"),
    ],
)
def test_a_variable_that_sets_nothing_is_reported(write, variable, name, why):
    write(FLIGHTS + "retry = 5")
    variable(**{name: "8"})
    with pytest.warns(UserWarning, match=r"sets nothing") as caught:
        assert policies("flights-api")["retry"].attempts == 5
    assert why in str(caught[0].message)


def test_a_variable_of_an_unknown_policy_is_reported(write, monkeypatch):
    write(FLIGHTS + "retry = 5")
    monkeypatch.setenv(f"{policy_file.VARIABLES}FLIGHT_API__RETRY", "8")
    with pytest.warns(UserWarning, match=r"has no such policy: did you mean FLIGHTS_API\?"):
        policies("flights-api")


@pytest.mark.parametrize(
    "name", ["POLICY__X__RETRY", "POLICIES_X_RETRY", "POLICIES__X", "POLICIES__X__", "POLICIES____RETRY"]
)
def test_a_variable_of_another_form_is_reported_at_import(monkeypatch, name):
    monkeypatch.setenv(f"RESILIENT_TASKS_{name}", "8")
    with pytest.warns(UserWarning, match=r"write RESILIENT_TASKS_POLICIES__<NAME>__<KEYWORD>__<ARGUMENT>"):
        settings._from_environment()


def test_variables_of_policies_are_no_unknown_settings(monkeypatch, variable):
    variable(RETRY__ATTEMPTS="8")
    monkeypatch.setenv(policy_file.CONFIG, "x.toml")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        settings._from_environment()


def test_a_variable_that_may_mean_two_policies_is_refused(write, variable):
    write(f"{FLIGHTS}retry = 5\n[tool.resilient_tasks.policies.flights_api]\nretry = 5")
    variable(RETRY="8")
    assert "may mean flights-api and flights_api" in refusal("flights-api")


def test_the_variables_are_named_in_the_plan(write, variable):
    write(FLIGHTS + "retry = 5")
    variable(RETRY="8")
    plan = resilient(policy="flights-api")(lambda: 1).__resilient__
    assert plan.named.variables == ("RESILIENT_TASKS_POLICIES__FLIGHTS_API__RETRY",)


# With other decorators.


def test_stacked_decorators_keep_the_policy(write):
    write("retry = 5")
    plan = resilient(timeout=20, idempotent=True)(resilient(policy="api")(lambda: 1)).__resilient__
    assert [policy.slot for policy in plan.pipeline.policies] == ["retry", "timeout"]
    assert plan.named.name == "api"


def test_another_policy_replaces_what_the_first_one_gave(write):
    write("retry = 5\ntimeout = 20\n[tool.resilient_tasks.policies.other]\nretry = 2")
    plan = resilient(policy="api", deadline=60, idempotent=True)(lambda: 1).__resilient__
    other = replaced(plan, {"policy": "other"})
    assert {policy.slot: policy for policy in other.pipeline.policies}["retry"].attempts == 2
    assert [policy.slot for policy in other.pipeline.policies] == ["deadline", "retry"]
    assert other.named.name == "other"
    assert [policy.slot for policy in replaced(plan, {"policy": None}).pipeline.policies] == ["deadline"]
    assert replaced(plan, {"retry": 9}).named == plan.named


def test_objects_are_still_what_code_writes(write):
    write("breaker = {name = 'other'}")
    assert policies(breaker=CircuitBreaker("mine"))["breaker"].name == "mine"
    assert policies()["breaker"].name == "other"
    assert isinstance(policies(rate_limit=RateLimit("r", 1, 1))["rate limit"], RateLimit)


@pytest.mark.parametrize("channel", [Slack, Email, Webhook])
def test_every_argument_of_a_channel_can_be_written_or_is_named_as_code(channel):
    form = named.CHANNELS[channel.__name__.lower()]
    assert form.made is channel
    assert set(form.secrets) <= set(form.arguments)
