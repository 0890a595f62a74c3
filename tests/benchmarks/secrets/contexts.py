"""Part (a): the contexts that docs/redaction.md claims, each with many generated secrets.

A context is a text with `§` where the secret goes. `¤` stands for a name of a password, `¥` for one of a token or key:
what people choose goes only under the former. The table names the writer of each group of contexts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import yaml
from cases import CHOSEN, KINDS, RANDOM, Case, Maker, secrets_of
from connections import CONNECTIONS
from programs import PROGRAMS
from reprs import REPRS
from settings_files import FILES
from unseen import UNSEEN
from unseen_too import UNSEEN_TOO
from web import WEB
from writers import WRITERS

#: Names of passwords, and of generated secrets.
PASSWORDS = (
    *(
        "password",
        "passwd",
        "pwd",
        "db_password",
        "DB_PASSWORD",
        "PGPASSWORD",
        "MYSQL_PWD",
        "userPassword",
        "smtp_pass",
    ),
    *("admin_password", "REDIS_PASSWORD", "client_secret", "clientSecret", "secret", "APP_SECRET", "root_passwd"),
    *("ldap_bind_password", "keystorePassword", "Password", "SMTP_PASSWORD", "secret_key", "new_password"),
    *("private_key_password", "vault_pass", "jwt_secret", "passphrase"),
)
TOKENS = (
    *(
        "api_key",
        "apiKey",
        "API_KEY",
        "X_API_KEY",
        "access_token",
        "refreshToken",
        "id_token",
        "auth_token",
        "access_key",
    ),
    *("aws_secret_access_key", "encryption_key", "hmac_key", "enc_key", "FERNET_KEY", "signing_key", "webhook_secret"),
    *("consumer_secret", "AZURE_CLIENT_SECRET", "GITHUB_TOKEN", "SLACK_BOT_TOKEN", "license_key", "account_key"),
    *("jwt_secret", "session_token", "csrf_token", "SECRET_KEY", "OPENAI_API_KEY", "STRIPE_SECRET_KEY", "NPM_TOKEN"),
    *("sas_token", "personal_access_token", "master_key", "shared_key", "aes_key", "mac_key", "subscriptionKey"),
    *("service_account_key", "cosmos_key", "storage_key", "app_key", "DD_APP_KEY", "client_key", "bearer_token"),
    *("hmac_secret", "token", "credentials", "private_key", "fernet_key", "bot_token", "deploy_key", "xApiKey"),
)
#: The number of secrets of different kinds that are tried in each context, if its format can hold them.
_BY_CONTEXT = {"¤": 8, "§": 6, "¥": 5}
_TRIES = 60

#: These write text with spaces without quotes.
_WITHOUT_QUOTES = {"yaml", "yaml in unicode", "yaml, flow", "configparser"}

GROUPS = {**CONNECTIONS, **FILES, **WEB, **PROGRAMS, **UNSEEN, **UNSEEN_TOO}


def cases() -> Iterator[Case]:
    """Yield every context with secrets of several kinds."""
    for group, (writer, texts) in GROUPS.items():
        for number, text in enumerate(texts):
            yield from _filled(f"{group} {number}: {text}", writer, text)
    for name, write in REPRS.items():
        yield from _represented(name, write)


def _filled(key: str, writer: str, text: str) -> Iterator[Case]:
    make = Maker(key)
    random_only = "¥" in text or writer == "basic" or "§§" in text
    text = text.replace("§§", "§")
    wanted = _BY_CONTEXT["¥" if random_only else "¤" if "¤" in text else "§"]
    secrets, seen = secrets_of(make, RANDOM if random_only and writer != "basic" else KINDS), set[str]()
    for _ in range(_TRIES):
        kind, secret = next(secrets)
        written = WRITERS[writer](secret)
        if written is None or kind in seen:
            continue
        seen.add(kind)
        named = text.replace("¤", make.random.choice(PASSWORDS)).replace("¥", make.random.choice(TOKENS))
        yield Case(key, kind, secret, (written[1],), named.replace("§", written[0]))
        if len(seen) == wanted:
            return


def _represented(name: str, write: Callable[[str, str], str]) -> Iterator[Case]:
    make = Maker(name)
    for kinds, names, wanted in ((CHOSEN, PASSWORDS, 6), (RANDOM, TOKENS, 4)):
        secrets = secrets_of(make, kinds)
        for _ in range(wanted):
            kind, secret = next(secrets)
            if name in _WITHOUT_QUOTES and " " in secret:
                continue  # as documented, only the first word is redacted
            text = write(make.random.choice(names), secret)
            forms = tuple(form for form in spelled(secret) if form in text)
            if not forms:
                raise ValueError(f"{name} does not show {secret!r}: {text!r}")
            yield Case(name, kind, secret, forms, text)


def spelled(secret: str) -> set[str]:
    """Return the ways to write a secret: with one writer, or with one after another."""
    once = _written(secret) | {secret.replace("\\", "\\\\"), secret.replace('"', '\\"')}
    for style in (None, '"'):
        once.add(yaml.safe_dump(secret, width=1000, default_style=style).splitlines()[0].strip("'\""))
    return once.union(*map(_written, once))


def _written(secret: str) -> set[str]:
    return {form for write in WRITERS.values() for form in (write(secret) or ())}
