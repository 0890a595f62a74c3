"""Secrets are redacted in every form; look-alikes stay; and no text is slow."""

import base64
import logging
import pickle
import re
import sys
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_tasks import PolicyError, configure
from resilient_tasks.core import log_records, settings
from resilient_tasks.core.failures import describe
from resilient_tasks.core.settings import Settings
from resilient_tasks.redaction import text as text_module
from resilient_tasks.redaction.text import is_secret_pair, redact, redact_whole
from resilient_tasks.redaction.values import clean

sys.path.insert(0, str(Path(__file__).parent))
from secrets_corpus import corpus, look_alikes

CORPUS = corpus()


def parts_of(secret, length=6):
    return {secret[at : at + length] for at in range(max(1, len(secret) - length + 1))}


def test_the_corpus_has_enough_secrets():
    assert len(CORPUS) >= 200
    assert len({planted.shape for planted in CORPUS}) >= 15


@pytest.mark.parametrize("planted", CORPUS, ids=lambda planted: planted.shape)
def test_a_secret_is_redacted_and_the_text_around_it_stays(planted):
    result = redact(planted.text)
    assert not [part for part in parts_of(planted.secret) if part in result], result
    assert all(word in result for word in planted.stays), result
    assert "***" in result


@pytest.mark.parametrize("text", look_alikes())
def test_what_only_looks_like_a_secret_stays(text):
    assert redact(text) is text


def test_the_name_stays_and_the_value_goes():
    assert redact("password=hunter2") == "password=***"
    assert redact('{"api_key": "abc", "user": "bob"}') == '{"api_key": "***", "user": "bob"}'
    assert redact("https://bob:hunter2@example.org/x") == "https://bob:***@example.org/x"
    assert redact("Authorization: Bearer abcdef123456") == "Authorization: Bearer ***"


def test_two_adjacent_tokens_are_redacted():
    keys = (
        "PMAK-60c5960f92f3f4480541a618-262be12ae0826697d443550477139a3fb5x",
        "ghp_DbPfsNNszpWH70ywxEeTSXvLyGqzbCli6v3W",
    )
    assert redact(f"401 for {'='.join(keys)}; rows=12") == "401 for ***=***; rows=12"


def test_truncated_secrets_are_redacted():
    lines = "\n".join(["-----BEGIN RSA PRIVATE KEY-----", "M" * 64, "M" * 30])
    assert "MMMM" not in redact(lines)
    assert redact("{'password': 'hunter") == "{'password': '***"
    assert redact('body: "{\\"password\\": \\"hunt') == 'body: "{\\"password\\": \\"***'


def test_in_a_line_of_code_only_quoted_values_are_redacted():
    line = "    connect(user, password=password, token=self.token, api_key=read(key))"
    assert redact(line, code=True) is line
    assert redact("    connect(password='hunter2')", code=True) == "    connect(password='***')"
    assert redact("    get('https://bob:hunter2@example.org')", code=True) == "    get('https://bob:***@example.org')"
    signature = "def connect(user: str, password: str = 'hunter2', token: str | None = None):"
    assert redact(signature, code=True) == signature.replace("hunter2", "***")


planted_texts = st.sampled_from([planted.text for planted in CORPUS] + look_alikes())
pieces = st.lists(
    planted_texts | st.text(max_size=30) | st.sampled_from(["\n", " ", "'", '"', "\\", "***", ": ", "=", "password="]),
    max_size=8,
)


@given(pieces.map("".join))
def test_redaction_is_idempotent(text):
    assert redact(redact(text)) == redact(text)


@given(
    st.text(alphabet="abcdefgh ,.", max_size=40), st.text(alphabet="abcdefgh ,.", max_size=40), st.sampled_from(CORPUS)
)
def test_text_around_a_secret_survives(before, after, planted):
    result = redact(f"{before}\n{planted.text}\n{after}")
    assert result.startswith(f"{before}\n")
    assert result.endswith(f"\n{after}")
    assert planted.secret not in result


@given(st.text(max_size=200))
def test_any_text_can_be_redacted(text):
    assert isinstance(redact(text), str)


#: Texts that repeatedly begin like a secret, and never contain one.
HOSTILE = (
    *("eyJ", "eyJa.", "://", "://a:", "://a:b", "-----BEGIN RSA PRIVATE KEY-----", "sk-", "sk-aaaaaaaa-", "xoxb-"),
    *("password=", 'password="', "password: ", "('password', '", "--password", "token token ", "key", "api_", "apikey"),
    *("secret\\", 'password\\\\\\\\\\\\\\"', "password=a&", "password=a;", "pass:str=", "secret: Optional[", "pwd={a"),
    *("authorization: digest ", "bearer ", "basic aaaa", "auth=('a','", "-u a:", "%3a%2f%2fa%3a", "aQ~", "1:AA", "SG."),
    *("N" * 24 + ".", "a" * 14 + ".atlasv1.", "0" * 32 + "-us", "İpassword=", "passphrase: a'", "1//0", "\\", "'", "a"),
)


@pytest.mark.parametrize("unit", HOSTILE)
def test_the_time_is_linear_in_the_length(unit):
    def seconds(size):
        text = unit * (size // len(unit))
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            redact_whole(text)
            best = min(best, time.process_time() - began)
        return best

    few, many = seconds(4_000), seconds(40_000)
    assert many < 40 * few + 0.02, f"{few:.4f} s, then {many:.4f} s"


def test_a_megabyte_of_hostile_text_is_read_in_seconds():
    worst = 0.0
    for unit in ("password=a&", "://"):
        began = time.process_time()
        redact_whole(unit * (1_000_000 // len(unit)))
        worst = max(worst, time.process_time() - began)
    assert worst < 10  # two on an idle machine


def test_a_value_is_a_secret_by_its_name():
    assert is_secret_pair("X-Api-Key", "abc")
    assert not is_secret_pair("max_tokens", "512")
    assert not is_secret_pair("password", "None")


def test_nested_values_are_redacted():
    class Seen:
        def __repr__(self):
            return "<Seen password=hunter2>"

    value = {
        "rows": [1, 2.5, None],
        "nested": [{"api_key": "abc"}, ("token", "tok1"), {b"x": b"password=hunter2"}],
        "path": Path("/x/token=abc123"),
        "seen": Seen(),
        "https://bob:hunter2@h": 1,
    }
    result = repr(clean(value))
    assert "hunter2" not in result
    assert "abc" not in result
    assert "tok1" not in result
    assert "'rows': [1, 2.5, None]" in result
    plain = {"rows": [1, (2, 3)], "set": {4}}
    assert clean(plain) is plain


def test_a_value_without_a_repr_stays_as_it_is():
    class Mute:
        def __repr__(self):
            raise RuntimeError("no")

    mute = Mute()
    assert clean([mute])[0] is mute


def test_a_subclass_of_str_is_redacted_as_text():
    class Name(str):
        __slots__ = ()

    plain = Name("plain")
    assert clean(plain) is plain
    assert clean(Name("password=hunter2")) == "password=***"


def test_under_a_vague_name_only_random_values_are_redacted():
    long = "word " * 30
    for text in (
        "auth='none of these'",
        f"auth='{long}'",
        "auth=basic",
        f"auth={'x' * 120}",
        "https://a.b/c?key=distance",
    ):
        assert redact_whole(text) is text
    assert redact_whole("auth='s3cr3t-s3cr3t'") == "auth='***'"


def test_a_token_in_place_of_a_user_is_redacted_and_a_user_stays():
    assert redact_whole("https://bob@example.org") == "https://bob@example.org"
    assert redact_whole("https://f00ba7f00ba7f00ba7:@example.org") == "https://***:@example.org"
    assert redact_whole("https://f00ba7f00ba7f00ba7:x-oauth-basic@example.org") == "https://***:***@example.org"
    assert redact_whole("Basic YWJjZGVmZ2hpamts is no pair of user and password") == (
        "Basic YWJjZGVmZ2hpamts is no pair of user and password"
    )


def test_a_recursive_value_terminates():
    endless = ["password=hunter2"]
    endless.append(endless)
    assert clean(endless)[0] == "password=***"


def test_an_error_is_described_without_its_secrets():
    assert describe(ValueError("password=hunter2\nsecond line")) == "ValueError: password=***"
    assert "M" * 20 not in describe(ValueError(f"-----BEGIN PRIVATE KEY-----\n{'M' * 64}\n-----END PRIVATE KEY-----"))


class TestRegisteredValues:
    def test_they_are_redacted_in_every_form(self, own_settings):
        secret = 'Zwölf "Boxer" & 1/2\\'
        own_settings(secrets=[secret])
        forms = [
            secret,
            quote(secret, safe=""),
            quote(secret),
            base64.b64encode(secret.encode()).decode(),
            repr(secret),
        ]
        for form in forms:
            assert redact_whole(f"it is {form}!") in {"it is ***!", "it is '***'!"}

    def test_patterns_match_too(self, own_settings):
        own_settings(secrets=[re.compile(r"EMP-\d+")])
        assert redact_whole("of EMP-1234 and EMP-x") == "of *** and EMP-x"

    def test_a_pattern_that_matches_the_mark_terminates(self, own_settings):
        own_settings(secrets=[re.compile(r"\*")])
        assert set(redact_whole("*")) == {"*"}

    def test_they_add_to_existing_ones(self, own_settings):
        own_settings(secrets=["first-one"])
        own_settings(secrets=("second-one",), quarantine="bad")
        own_settings(quarantine="worse")
        assert redact_whole("first-one, second-one") == "***, ***"

    def test_a_longer_one_is_redacted_whole(self, own_settings):
        own_settings(secrets=["open", "open sesame"])
        assert redact_whole("say open sesame") == "say ***"

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            (["abc"], "fewer than 4 characters"),
            ([12345], "is a int, not a text"),
            ([b"bytes"], "is a bytes"),
            ("a text", "takes a list"),
            ([re.compile("x*")], "matches the empty text"),
            ([re.compile(b"xyz")], "is a Pattern"),
        ],
    )
    def test_invalid_ones_are_refused_without_being_quoted(self, own_settings, given, why):
        with pytest.raises(PolicyError, match=re.escape(why)) as refused:
            own_settings(secrets=given)
        assert "abc" not in str(refused.value)
        assert settings.current.secrets == ()

    def test_no_repr_shows_them(self, own_settings):
        assert "hidden-one" not in repr(own_settings(secrets=["hidden-one"]))
        assert "hidden-one" not in str(settings.current)

    def test_they_cross_to_child_processes_with_the_settings(self, own_settings):
        assert pickle.loads(pickle.dumps(own_settings(secrets=["hidden-one"]))).secrets == ("hidden-one",)

    def test_the_environment_lists_variables_that_hold_some(self, monkeypatch):
        monkeypatch.setenv("RESILIENT_TASKS_SECRETS", "DB_LOGIN, NOT_SET")
        monkeypatch.setenv("DB_LOGIN", "sesame-1")
        assert settings._from_environment() == Settings(secrets=("sesame-1",))
        monkeypatch.setattr(settings, "current", Settings())
        configure(quarantine="bad")  # reads the environment again
        assert redact_whole("with sesame-1") == "with ***"

    def test_a_variable_that_is_too_short_is_refused_by_its_name(self, monkeypatch):
        monkeypatch.setenv("RESILIENT_TASKS_SECRETS", "DB_LOGIN")
        monkeypatch.setenv("DB_LOGIN", "q7")
        with pytest.raises(PolicyError, match="DB_LOGIN, whose value has fewer than 4") as refused:
            settings._from_environment()
        assert "q7" not in str(refused.value)


class TestLogLines:
    @pytest.fixture
    def lines(self):
        """Return what a plain handler writes for a logger with the filter."""
        made = []

        class Kept(logging.Handler):
            def emit(self, record):
                made.append(f"{self.format(record)} {vars(record).get('extra')!r} {vars(record).get('password')!r}")

        logger = logging.Logger("private")  # noqa: LOG001  # hidden from other tests
        logger.addHandler(Kept())
        log_records.install(logger)
        log_records.install(logger)
        assert len(logger.filters) == 1
        return logger, made

    def test_message_arguments_and_attributes_are_cleaned(self, lines):
        logger, made = lines
        logger.warning("no %s for %s", "password=hunter2", {"api_key": "abc"}, extra={"extra": ["token=tok1"]})
        logger.warning("plain %d", 1, extra={"password": "hunter2"})
        assert made[0].startswith("no password=*** for {'api_key': '***'} ['token=***']")
        assert made[1].startswith("plain 1")
        assert "hunter2" not in made[1]

    def test_a_traceback_keeps_its_causes_without_their_secrets(self, lines):
        logger, made = lines
        pair, url = "password=hunter2", "https://bob:hunter2@example.org"
        try:
            try:
                raise ValueError(pair)
            except ValueError as error:
                raise KeyError(url) from error
        except KeyError:
            logger.exception("failed", stack_info=True)
        assert "hunter2" not in made[0]
        assert "ValueError: password=***" in made[0]
        assert "direct cause" in made[0]
        assert "test_redact.py" in made[0]

    def test_arguments_that_do_not_fit_hide_nothing(self, lines):
        logger, _ = lines
        logger.handlers.clear()
        record = logging.LogRecord("x", logging.INFO, __file__, 1, "two %s %s", ({"password": "hunter2"},), None)
        logger.handle(record)
        assert "hunter2" not in repr(vars(record))


class TestALongText:
    """Only the head and tail are kept, so an error of megabytes costs a failing call no more than one of a page."""

    def test_states_how_much_was_left_out(self):
        result = redact("begin " + "word " * 200_000 + "end")
        assert len(result) < 6_000
        assert result.startswith("begin word")
        assert result.endswith("word end")
        (number,) = re.findall(r"\[([\d,]+) characters left out\]", result)
        assert int(number.replace(",", "")) == pytest.approx(1_000_009, abs=6_000)

    def test_is_searched_in_part(self, monkeypatch):
        seen = []
        once = text_module._redact_once
        monkeypatch.setattr(
            text_module, "_redact_once", lambda text, **how: seen.append(len(text)) or once(text, **how)
        )
        redact("word " * 2_000_000)
        assert sum(seen) < 20_000

    @pytest.mark.parametrize("filling", ["word ", "x", "line of a log\n"])
    @pytest.mark.parametrize("cut", [3_000, 5_500, 39_000, 36_500])  # where the parts end, and their margins
    def test_shows_no_part_of_a_secret_that_a_cut_splits(self, filling, cut):
        filled = (filling * 40_000)[:40_000]
        for planted in CORPUS[::5]:
            around = planted.text.replace(planted.secret, "")
            start, size = planted.text.index(planted.secret), len(planted.secret)
            for at in (cut - start - size // 3, cut - start - 2 * size // 3):
                result = redact(f"{filled[:at]} {planted.text} {filled[at:]}")
                assert not {part for part in parts_of(planted.secret, 10) if part not in around and part in result}

    def test_shows_no_part_of_a_registered_secret_of_any_length(self, own_settings):
        secret = "".join(f"word{number} " for number in range(3_000))
        own_settings(secrets=[secret])
        for at in (100, 2_900, 70_000, 98_000):
            result = redact("a " * (at // 2) + secret + "b " * (50_000 - at // 2))
            assert not re.search(r"word\d", result)

    def test_shows_no_part_of_a_private_key_longer_than_the_kept_text(self):
        body = "\n".join(f"MIIEow{number:058d}" for number in range(2_000))
        key = f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"
        for text in (key, f"{'a ' * 1_400}{key} b", f"a{key}{' b' * 200}", f"{'a ' * 9_000}{key}{' b' * 9_000}"):
            assert "MIIEow" not in redact(text)

    def test_is_not_cut_again(self):
        result = redact("password=hunter2-hunter2 and so on. " * 10_000)
        assert redact(result) == result
