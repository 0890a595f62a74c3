"""Key functions: their arguments, valid names, and the messages for invalid ones."""

import enum
import functools
import operator
import uuid

import cloudpickle
import numpy as np
import pytest

from resilient_tasks import (
    Bulkhead,
    CircuitBreaker,
    LastGood,
    PolicyError,
    PredicateError,
    RateLimit,
    RetryBudget,
    SingleFlight,
    configure,
)
from resilient_tasks.core.call import Call, Work
from resilient_tasks.core.execution.runtime import SYNC
from resilient_tasks.core.keys.hosts import host_of
from resilient_tasks.core.keys.keys import LONGEST


def name(key, fn, *args, **kwargs):
    """Return the name that `key` returns for this call of `fn`."""
    return CircuitBreaker(key).for_call(Call(Work("fetch", fn, args, kwargs, SYNC))).name


def fits(key, fn):
    """Return the message with which decoration refuses `key` for `fn`; None if it is accepted."""
    try:
        CircuitBreaker(key).check(fn)
    except PolicyError as error:
        return str(error)
    return None


def fetch(url, timeout=3, *, region="eu"):
    return url


class Client:
    tenant = "acme"

    def fetch(self, url):
        return url

    @classmethod
    def of_class(cls, url):
        return url

    @staticmethod
    def static(url):
        return url

    def __call__(self, url):
        return url


def variadic(*urls, **options):
    return urls


def mixed(url, /, *more, timeout=3, **options):
    return url


def foreign(fn):
    """Represent a decorator that hides the name of the wrapped function."""

    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs)

    return wrapper


async def awaited(url):
    return url


def yielding(url):
    yield url


class TestAKeyFunctionReceivesTheArgumentsOfItsParameters:
    @pytest.mark.parametrize(
        ("key", "fn", "args", "kwargs", "expected"),
        [
            (lambda url: url, fetch, ("a",), {}, "a"),
            (lambda url: url, fetch, (), {"url": "a", "timeout": 5}, "a"),
            (lambda timeout, url: f"{url} {timeout}", fetch, ("a",), {}, "a 3"),
            (lambda region: region, fetch, ("a",), {}, "eu"),
            (lambda region: region, fetch, ("a", 1), {"region": "us"}, "us"),
            (lambda *, url: url, fetch, ("a",), {}, "a"),
            (lambda url, prefix="api": f"{prefix} {url}", fetch, ("a",), {}, "api a"),
            (lambda **kwargs: " ".join(kwargs), fetch, ("a",), {}, "url timeout region"),
            (lambda url, **kwargs: f"{url} {sorted(kwargs)}", fetch, ("a",), {}, "a ['region', 'timeout']"),
            (lambda *args, **kwargs: f"{args} {kwargs}", fetch, ("a",), {}, "('a', 3) {'region': 'eu'}"),
            (lambda url, *rest: f"{url} {rest}", fetch, ("a",), {}, "a (3,)"),
            (lambda: "always", fetch, ("a",), {}, "always"),
            (lambda url, /: url, fetch, ("a",), {}, "a"),
            (lambda anything, /: anything, fetch, ("a",), {}, "a"),
            (operator.itemgetter("host"), fetch, ({"host": "a"},), {}, "a"),
            (str.lower, fetch, ("A",), {}, "a"),
            (functools.partial(lambda prefix, url: prefix + url, "p"), fetch, ("a",), {}, "pa"),
            (Client(), fetch, ("a",), {}, "a"),
            (Client().fetch, fetch, ("a",), {}, "a"),
            (lambda self, url: f"{self.tenant} {url}", Client.fetch, (Client(), "a"), {}, "acme a"),
            (lambda url: url, Client.fetch, (Client(), "a"), {}, "a"),
            (lambda url: url, Client().fetch, ("a",), {}, "a"),
            (lambda url: url, Client(), ("a",), {}, "a"),
            (lambda url: url, Client.of_class, ("a",), {}, "a"),
            (lambda url: url, Client.static, ("a",), {}, "a"),
            (lambda urls: urls[1], variadic, ("a", "b"), {}, "b"),
            (lambda *urls: urls[1], variadic, ("a", "b"), {}, "b"),
            (lambda tenant: tenant, variadic, ("a",), {"tenant": "acme"}, "acme"),
            (lambda options: options["tenant"], variadic, (), {"tenant": "acme"}, "acme"),
            (lambda tenant, region="eu": f"{tenant} {region}", variadic, (), {"tenant": "acme"}, "acme eu"),
            (lambda url, tenant: f"{url} {tenant}", mixed, ("a",), {"tenant": "acme"}, "a acme"),
            (lambda more: f"{more}", mixed, ("a", "b"), {}, "('b',)"),
            (lambda url: url, foreign(fetch), ("a",), {"timeout": 3}, "a"),
            (lambda url: url, foreign(fetch), (), {"url": "a"}, "a"),
            (lambda url, timeout: f"{url} {timeout}", foreign(fetch), ("a", 5), {}, "a 5"),
            (lambda url: url, functools.partial(fetch, timeout=9), ("a",), {}, "a"),
            (lambda timeout: f"{timeout}", functools.partial(fetch, timeout=9), ("a",), {}, "9"),
            (lambda args, kwargs: f"{args} {kwargs}", foreign(fetch), ("a",), {"x": 1}, "('a',) {'x': 1}"),
        ],
    )
    def test_however_the_call_and_the_key_function_are_written(self, key, fn, args, kwargs, expected):
        assert fits(key, fn) is None
        assert name(key, fn, *args, **kwargs) == expected

    def test_the_arguments_of_a_function_written_in_c_are_passed_unchanged(self):
        assert name(lambda *args: f"{args}", print, "a", "b") == "('a', 'b')"

    @pytest.mark.parametrize(
        ("key", "fn", "said"),
        [
            (lambda host: host, fetch, "names host, which fetch(url, timeout, *, region) does not have"),
            (lambda host: host, fetch, "write lambda url: ..., or take **kwargs"),
            (lambda url, a, b: url, fetch, "names a and b, which"),
            (host_of, lambda address: address, "write lambda address: host_of(address)"),
            (host_of, Client().fetch, None),
            (lambda a, b, c, /: a, fetch, "names c, which"),
            (lambda a, b, c, *more: a, fetch, "names c, which"),
            (lambda *args, tenant: tenant, fetch, "names tenant, which"),
            (lambda url: url, lambda: 1, "write a function without parameters"),
            (lambda address: address, Client.fetch, "write lambda url: "),
        ],
    )
    def test_what_the_function_does_not_have_is_refused_at_decoration(self, key, fn, said):
        why = fits(key, fn)
        assert why is None if said is None else said in why

    def test_an_argument_that_the_call_lacks_fails_the_call(self):
        with pytest.raises(PredicateError, match="needs tenant, which this call of fetch does not have"):
            name(lambda url, tenant: tenant, variadic, "a", region="eu")

    def test_arguments_that_do_not_fit_the_function_are_a_type_error(self):
        with pytest.raises(TypeError, match=r"fetch\(\): missing a required argument: 'url'") as caught:
            name(lambda url: url, fetch)
        assert not isinstance(caught.value, PolicyError)


#: For each policy with `key=`, keywords of a decorator.
WITH_KEY = {
    "LastGood": lambda key, folder: {"fallback": LastGood(folder=folder, key=key)},
    "SingleFlight": lambda key, folder: {"single_flight": SingleFlight(key=key)},
}


@pytest.mark.parametrize("options", WITH_KEY.values(), ids=WITH_KEY)
class TestTheKeyOfLastGoodAndSingleFlight:
    def test_it_receives_arguments_and_defaults(self, drive, tmp_path, options):
        seen = []
        call = drive(fetch, **options(lambda timeout, url: seen.append((url, timeout)), tmp_path))
        assert call("a", region="us") == "a"
        assert call(url="b") == "b"
        assert seen == [("a", 3), ("b", 3)]

    def test_what_the_function_does_not_have_is_refused_at_decoration(self, drive, tmp_path, options):
        with pytest.raises(PolicyError, match=r"\(key=...\): the key function .* names host, which .* does not have"):
            drive(fetch, **options(lambda host: host, tmp_path))

    def test_wrong_arguments_are_a_type_error_as_without_a_policy(self, drive, tmp_path, options):
        call = drive(fetch, **options(lambda url: url, tmp_path))
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'url'"):
            call()

    def test_it_may_return_any_value(self, drive, tmp_path, options):
        call = drive(fetch, **options(lambda url: [None, 1.5, {url: b"x"}], tmp_path))
        assert call("a") == "a"

    @pytest.mark.parametrize("given", [str, 5, "url", awaited, yielding])
    def test_anything_but_a_plain_function_is_refused(self, tmp_path, options, given):
        with pytest.raises(PolicyError, match=r"\(key=...\) "):
            options(given, tmp_path)


class Api(enum.StrEnum):
    FLIGHTS = "flights"


class Number(enum.Enum):
    ONE = 1


class Text(str):
    __slots__ = ()

    def __str__(self):
        return "something else"


class TestNamesFromAKeyFunction:
    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            ("a", "a"),
            (42, "42"),
            (-1, "-1"),
            (np.int64(7), "7"),
            (np.str_("a"), "a"),
            (Api.FLIGHTS, "flights"),
            (Number.ONE, "1"),
            (Text("a"), "a"),
            (" a ", " a "),
            ("ü" * LONGEST, "ü" * LONGEST),
        ],
    )
    def test_text_whole_numbers_and_members_of_an_enum(self, answer, expected):
        found = name(lambda: answer, fetch, "u")
        assert found == expected
        assert type(found) is str
        assert CircuitBreaker(lambda: "x").for_key(answer).name == expected

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            (None, "returned None: a name is a text"),
            (True, "returned a bool: a name is a text"),
            (1.5, "returned a float"),
            (b"a", "returned a bytes"),
            (["a"], "returned a list"),
            (uuid.UUID(int=1), r"returned a UUID: .* Write str\(...\)"),
            ("", "returned an empty text"),
            (" \n", "returned an empty text"),
            ("x" * (LONGEST + 1), "returned 501 characters, more than 500"),
            ("a\udc80", "half a surrogate pair"),
        ],
    )
    def test_anything_else_fails_the_call(self, answer, message):
        with pytest.raises(PredicateError, match=rf"CircuitBreaker\(name\): the key function .* {message}") as caught:
            name(lambda: answer, fetch, "u")
        assert caught.value.judged is None
        with pytest.raises(PolicyError, match="the key is"):
            CircuitBreaker(lambda: "x").for_key(answer)

    def test_a_plain_name_is_kept_as_str_whatever_its_class(self):
        assert type(CircuitBreaker(Api.FLIGHTS).name) is str
        assert RateLimit(Text("a"), 1, 1).name == "a"

    def test_an_error_of_the_key_function_is_the_cause_and_the_message_has_its_line(self):
        def host(url):
            return {}["h"]

        message = r"key function host raised KeyError: 'h' \(test_keys.py:\d+\)"
        with pytest.raises(PredicateError, match=message) as caught:
            name(host, fetch, "u")
        assert isinstance(caught.value.__cause__, KeyError)

    def test_a_coroutine_as_the_result_is_refused(self):
        with pytest.raises(PredicateError, match="has to answer at once"):
            name(lambda url: awaited(url), fetch, "u")  # noqa: PLW0108  # its result is unknown at decoration


MAKERS = {
    "CircuitBreaker": CircuitBreaker,
    "RateLimit": lambda name: RateLimit(name, calls=1, per=1),
    "Bulkhead": lambda name: Bulkhead(name, 1),
    "RetryBudget": RetryBudget,
}


@pytest.fixture(params=MAKERS.values(), ids=MAKERS)
def make(request):
    return request.param


class TestTheNameArgument:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (5, "or a function of the call's arguments"),
            (b"api", "or a function of the call's arguments"),
            ("", "name of shared state"),
            ("a\udc80", "name of shared state"),
            (str, "not the class str"),
            (awaited, "make it a plain `def`"),
            (yielding, "make it a plain `def`"),
        ],
    )
    def test_anything_but_a_text_or_a_plain_function_is_refused(self, make, given, message):
        with pytest.raises(PolicyError, match=message):
            make(given)

    def test_its_description_names_the_key_function(self, make):
        assert "each key of host_of" in make(host_of).describe()

    def test_it_can_be_pickled(self, make):
        copy = cloudpickle.loads(cloudpickle.dumps(make(lambda url: host_of(url.lower()))))
        call = Call(Work("fetch", fetch, ("http://a/x",), {}, SYNC))
        assert copy.for_call(call).name == "a"
        assert copy.for_key("b").name == "b"

    def test_a_plain_name_has_no_keys(self, make):
        with pytest.raises(PolicyError, match="has no keys: leave the key out"):
            make("api").for_key("a")
        plain = make("api")
        assert plain.for_call(None) is plain


class TestSecretsInAKey:
    SECRETS = (
        "https://user:hunter22secret@api.example.com/flights",
        "https://api.example.com/?api_key=A1b2C3d4E5f6G7h8",
        "password=hunter22secret",
        "Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefghijk1234567890",
    )

    @pytest.mark.parametrize("secret", SECRETS)
    def test_they_are_redacted_and_different_secrets_make_different_names(self, secret):
        first, second = (name(lambda url: url, fetch, text) for text in (secret, secret.replace("2", "3")))
        assert "***" in first
        for part in ("hunter22secret", "A1b2C3d4", "eyJzdWIi"):
            assert part not in first
        assert first != second
        assert name(lambda url: url, fetch, secret) == first

    def test_the_value_of_a_parameter_named_like_a_secret_is_one(self):
        def call(api_key):
            return api_key

        found = name(lambda api_key: api_key, call, "tenant-A7x")
        assert found.startswith("*** (")
        assert CircuitBreaker(lambda api_key: api_key).for_key("tenant-A7x").name == found

    def test_a_redacted_name_refers_to_the_same_state(self):
        key = CircuitBreaker(lambda url: url)
        for secret in self.SECRETS:
            shown = key.for_key(secret).name
            assert key.for_key(shown).name == shown

    def test_registered_values_are_secrets(self, own_settings):
        own_settings()
        configure(secrets=["swordfish"])
        assert "swordfish" not in name(lambda url: url, fetch, "tenant-swordfish")

    def test_no_message_shows_one(self):
        def host(url):
            raise ValueError(url)

        with pytest.raises(PredicateError) as caught:
            name(host, fetch, self.SECRETS[0])
        assert "hunter22secret" not in str(caught.value)
        with pytest.raises(ValueError, match="no host") as refused:
            host_of("user:hunter22secret@api.example.com/x")
        assert "hunter22secret" not in str(refused.value)


class TestHostOf:
    @pytest.mark.parametrize(
        ("url", "host"),
        [
            ("https://API.Example.com/flights?page=3#x", "api.example.com"),
            ("http://api.example.com:8080", "api.example.com:8080"),
            ("https://api.example.com:443/x", "api.example.com"),
            ("http://api.example.com:80/x", "api.example.com"),
            ("http://api.example.com:443/x", "api.example.com:443"),
            ("ws://api.example.com:80/x", "api.example.com"),
            ("wss://api.example.com:443/x", "api.example.com"),
            ("https://user:pass@api.example.com/x", "api.example.com"),
            ("https://api.example.com./x", "api.example.com"),
            ("//cdn.example.com/x", "cdn.example.com"),
            ("http://[::1]:8080/x", "[::1]:8080"),
            ("http://[2001:DB8::1]/x", "[2001:db8::1]"),
            ("http://127.0.0.1/x", "127.0.0.1"),
            ("postgresql://u:p@db:5432/flights", "db:5432"),
            (" https://api.example.com \n", "api.example.com"),
        ],
    )
    def test_a_host_in_lower_case_with_its_port(self, url, host):
        assert host_of(url) == host

    def test_a_url_of_a_library(self):
        import httpx

        assert host_of(httpx.URL("https://user:pass@API.example.com:8443/x")) == "api.example.com:8443"

    @pytest.mark.parametrize(
        "url",
        [
            "api.example.com/x",
            "api.example.com:80/x",
            "",
            "/x",
            "file:///x",
            "https://",
            "https:///x",
            None,
            b"http://a",
        ],
    )
    def test_a_url_without_a_host_is_refused(self, url):
        with pytest.raises(ValueError, match="has no host: write it with its scheme"):
            host_of(url)

    @pytest.mark.parametrize("url", ["http://[::1/x", "http://a:99999/x", "http://a:b/x"])
    def test_an_invalid_url_is_refused(self, url):
        with pytest.raises(ValueError, match="is no URL"):
            host_of(url)
