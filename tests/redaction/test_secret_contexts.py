"""Secrets are redacted in every documented context, and look-alikes stay."""

import sys
import time
from pathlib import Path

import pytest

from resilient_tasks.redaction import secret_names
from resilient_tasks.redaction.secret_names import Confidence
from resilient_tasks.redaction.secret_values import is_nothing, is_random, is_sentence
from resilient_tasks.redaction.text import redact, redact_whole

sys.path.insert(0, str(Path(__file__).parent))
from secret_texts import CONTEXTS, LOOK_ALIKES

SECRETS = ("Tr0ub4dor-9x", "gK7vQ2mZ8pR4tW1y")


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("text", CONTEXTS)
def test_a_secret_is_redacted_in_its_context(text, secret):
    result = redact(text.replace("§", secret))
    assert secret not in result
    assert "***" in result


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_look_alikes_stay(text):
    assert redact(text) is text


@pytest.mark.parametrize("secret", ["It's", 'say "7"', "a;b", "two words", "back\\slash", "sign=first", "#1st", "ünï"])
def test_a_quoted_secret_is_redacted_whatever_its_characters(secret):
    for text in (f"{ {'password': secret}!r}", f"Login(user='bob', password={secret!r})"):
        result = redact(text)
        assert secret not in result
        assert repr(secret)[1:-1] not in result
        assert result.endswith((")", "}"))


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "db_password",
        "DB_PASSWORD_2",
        "userPassword",
        "PGPASSWORD",
        "spring.datasource.password",
        "hmac_key",
        "enc_key",
        "FERNET_KEY",
        "signing_secret",
        "storageAccountKey",
        "api-key",
        "X-Api-Key",
        "SECRET_KEY_BASE",
        "keyStorePassword",
        "aws_secret_access_key",
        "credentials",
        "sshpass",
        "dbpass",
    ],
)
def test_names_of_secrets_are_recognised(name):
    assert secret_names.confidence(name) is Confidence.SURE


@pytest.mark.parametrize(
    "name",
    [
        "tokens_used",
        "max_tokens",
        "pass_rate",
        "account_key_vault",
        "password_reset_url",
        "token_type",
        "secret_name",
        "key_id",
        "primary_key",
        "sort_key",
        "cache_key",
        "bypass",
        "compass",
        "tokenizer",
        "secretary",
        "author",
        "passengers",
        "boarding_pass",
        "monkey",
        "kid",
        "password_min_length",
        "aws_access_key_id",
        "sslKeyFile",
    ],
)
def test_other_names_are_not_names_of_secrets(name):
    assert secret_names.confidence(name) is Confidence.NONE


@pytest.mark.parametrize("value", ["", "None", "***", "$DB_PASSWORD", "${x}", "%PASSWORD%", "{{ x }}", "<password>"])
def test_a_placeholder_is_not_a_secret(value):
    assert is_nothing(value)
    assert redact(f"password={value}") == f"password={value}"


def test_a_password_that_begins_like_a_variable_is_a_secret():
    assert redact("password=$ecret1") == "password=***"


def test_a_sentence_is_not_a_secret_and_a_passphrase_is():
    assert is_sentence("must be at least 8 characters")
    assert not is_sentence("correct horse battery staple")
    assert redact('{"password": "correct horse battery staple"}') == '{"password": "***"}'


def test_counters_digests_and_ids_are_not_random():
    assert is_random("gK7vQ2mZ8pR4tW1y")
    for text in (
        "flights-2013-07-01",
        "part-00001-of-00012",
        "0" * 40,
        "5f0c1c52-6a9d-4f0e-9f6e-2f8f8d2c1b11",
        "short1",
    ):
        assert not is_random(text)


@pytest.mark.parametrize("text", ["the token § has expired", 'This token "§" was refused'])
def test_an_article_before_a_token_changes_nothing(text):
    token = "Xq7TzR4bLk9Wm2Pv8Ys3"  # generated
    assert redact(text.replace("§", token)) == text.replace("§", "***")


def test_only_the_value_is_redacted():
    assert redact("['curl', '-u', 'bob:hunter2', 'h']") == "['curl', '-u', 'bob:***', 'h']"
    assert redact("mysql -u root -phunter2 db") == "mysql -u root -p*** db"
    assert redact('{"name": "DB_PASSWORD", "value": "x1"}') == '{"name": "DB_PASSWORD", "value": "***"}'
    assert redact("db:\n  password: |\n    hunter2\n  user: bob") == "db:\n  password: |\n    ***\n  user: bob"
    assert redact("ALTER USER bob IDENTIFIED BY 'x1' ACCOUNT LOCK") == "ALTER USER bob IDENTIFIED BY '***' ACCOUNT LOCK"
    assert redact("Driver=x;Pwd={a;b};Uid=bob") == "Driver=x;Pwd=***;Uid=bob"


#: Texts that repeatedly begin like one of the contexts.
HOSTILE = (
    "insert into t(password) values ('a',",
    ";Password=a&",
    "value: a name: password ",
    "option 'key' in section Raw value: '",
    "login('a', ",
    "a_B1c_",
    *(
        "password: >\n    a",
        "password:\n",
        "password:\n- a\n",
        'passwords: ["',
        '"password": {',
        "mysql -p",
        "curl -u a:",
    ),
    *("[SQL: a]\n[parameters: ", "[parameters: (", "loc: [", "(a)=(", "input_value=a..., ", "x [type=a, input_value="),
    *(
        "IDENTIFIED BY '",
        ":thin:a/b",
        "a:1234:b:c:",
        '<a name="password" ',
        "? password\n",
        "password='\"'\"'",
        "<<EOF\n",
    ),
    *("ghp_", "glpat-a", "sk-sk-", "aB1", "'-u', 'a:", "-----BEGIN ", "argument --password: invalid a: '", "set a b "),
)


@pytest.mark.parametrize("unit", HOSTILE)
def test_the_time_is_linear_in_the_length(unit):
    def seconds(size):
        text = (unit * size)[:size]
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            redact_whole(text)
            best = min(best, time.process_time() - began)
        return best

    few, many = seconds(5_000), seconds(40_000)
    assert many < 32 * few + 0.02, f"{few:.4f} s, then {many:.4f} s"
