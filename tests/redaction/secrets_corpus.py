"""Secrets in the shapes found in the wild, each in a text. Generated: none was ever real.

`corpus()` always returns the same ones. `text` is what a library, a program or a person would write, `secret` the part
to redact, and `stays` the words of the text that are not secret.
"""

import base64
import json
import random
import string
from dataclasses import dataclass
from urllib.parse import quote

_SEED = 20261126
_ALNUM = string.ascii_letters + string.digits
_HEX = "0123456789abcdef"
_URL64 = _ALNUM + "-_"


@dataclass(frozen=True)
class Planted:
    """A secret in a text."""

    shape: str
    secret: str
    text: str
    stays: tuple[str, ...] = ()


class _Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def some(self, letters, length):
        return "".join(self.random.choices(letters, k=length))

    def password(self):
        """A password with a digit, as most have, and a sign that needs no quoting anywhere."""
        body = self.some(_ALNUM, self.random.randint(8, 20))
        return f"{body}{self.random.choice('!*_-.')}{self.random.randint(10, 99)}{self.some(string.ascii_letters, 2)}"

    def word(self):
        return self.some(string.ascii_lowercase, self.random.randint(5, 9))

    def base64(self, length):
        return base64.b64encode(self.random.randbytes(length)).decode()

    def jwt(self):
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
        claims = json.dumps({"sub": self.word(), "iat": self.random.randint(10**9, 2 * 10**9)}).encode()
        return f"{head}.{base64.urlsafe_b64encode(claims).decode().rstrip('=')}.{self.some(_URL64, 43)}"

    def pem(self, kind):
        body = self.base64(200)
        lines = [body[at : at + 64] for at in range(0, len(body), 64)]
        return lines, "\n".join([f"-----BEGIN {kind}PRIVATE KEY-----", *lines, f"-----END {kind}PRIVATE KEY-----"])


#: What is written around a token that is known by its own shape.
_AROUND = (
    "401 Client Error: Unauthorized for {}",
    "the call with {} was refused after 3 attempts",
    "{{'used': '{}', 'rows': 12}}",
    '{{"sent": "{}", "rows": 12}}',
    "see {}\nand the line after it",
    "x={}; rows=12",
)


def _tokens(make):
    """Tokens with a known prefix."""
    hexa, alnum, url64 = (lambda n, of=of: make.some(of, n) for of in (_HEX, _ALNUM, _URL64))
    digits = lambda n: make.some(string.digits, n)  # noqa: E731
    upper = string.ascii_uppercase + string.digits
    made = {
        "github": ["ghp_" + alnum(36), "gho_" + alnum(36), "ghs_" + alnum(36), f"github_pat_{alnum(22)}_{alnum(59)}"],
        "gitlab": ["glpat-" + url64(20), "gldt-" + url64(20), "glrt-" + url64(20)],
        "slack": [
            f"xoxb-{digits(12)}-{digits(13)}-{alnum(24)}",
            f"xoxp-{digits(12)}-{digits(12)}-{digits(12)}-{hexa(32)}",
            f"xapp-1-A{make.some(upper, 10)}-{digits(13)}-{hexa(64)}",
        ],
        "stripe": ["sk_live_" + alnum(24), "rk_live_" + alnum(24), "sk_test_" + alnum(24), "whsec_" + alnum(32)],
        "models": [
            f"sk-{alnum(20)}7{alnum(27)}",
            f"sk-proj-4{url64(70)}a",
            f"sk-ant-api03-{url64(93)}AA",
            "hf_" + alnum(34),
            "gsk_" + alnum(52),
            "r8_" + alnum(37),
        ],
        "google": ["AIza" + alnum(35), "ya29." + alnum(60), "GOCSPX-" + alnum(28)],
        "packages": ["npm_" + alnum(36), "pypi-AgEIcHlwaS5vcmc" + alnum(70), "rubygems_" + hexa(48)],
        "mail": [f"SG.{alnum(22)}.{alnum(43)}", f"{hexa(32)}-us{digits(2)}", "key-" + hexa(32), "SK" + hexa(32)],
        "data": [
            "dapi" + hexa(32),
            "pnu_" + alnum(36),
            "pnb_" + alnum(36),
            f"dp.pt.{alnum(43)}",
            "lin_api_" + alnum(40),
        ],
        "infrastructure": [
            "dop_v1_" + hexa(64),
            "hvs." + alnum(24),
            f"{alnum(14)}.atlasv1.{alnum(60)}",
            "dckr_pat_" + alnum(27),
            "glsa_" + alnum(32) + "_" + hexa(8),
            "NRAK-" + make.some(upper, 27),
            "shpat_" + hexa(32),
            f"pat{alnum(14)}.{hexa(64)}",
            "PMAK-" + hexa(24) + "-" + hexa(34),
        ],
        "chat": [f"{digits(10)}:AA{alnum(33)}", f"M{alnum(23)}.{alnum(6)}.{alnum(38)}"],
        "clouds": ["AKIA" + make.some("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16), f"{alnum(3)}8Q~{alnum(34)}"],
        "jwt": [make.jwt(), make.jwt()],
    }
    for shape, secrets in made.items():
        for secret in secrets:
            for around in make.random.sample(_AROUND, 2):
                yield Planted(shape, secret, around.format(secret), ("rows",) if "rows" in around else ())


def _urls(make):
    for scheme, rest in (
        ("https", "api.example.org/v1/flights?page=2"),
        ("postgresql", "db.example.org:5432/flights"),
        ("postgresql+psycopg2", "db.example.org/flights?sslmode=require"),
        ("mysql", "10.0.0.7:3306/flights"),
        ("mongodb+srv", "cluster0.ab12c.example.net/test?retryWrites=true"),
        ("amqp", "queue.example.org:5672//"),
        ("ftp", "files.example.org/in/flights.csv"),
        ("snowflake", "account/db/schema?warehouse=wh"),
    ):
        secret = make.password()
        yield Planted("url", secret, f"could not connect to {scheme}://bob:{secret}@{rest}", ("bob", rest))
        secret = quote(make.password() + "/@", safe="")
        yield Planted(
            "url", secret, f"{scheme}://bob:{secret}@{rest} does not answer", ("bob", rest, "does not answer")
        )
    secret = make.password()
    yield Planted("url", secret, f"redis://:{secret}@cache.example.org:6379/0", ("cache.example.org:6379/0",))
    secret = f"ab/{make.some(_ALNUM, 12)}+{make.some(_ALNUM, 5)}"
    yield Planted("url", secret, f"postgresql://bob:{secret}@db.example.org/flights", ("bob", "db.example.org/flights"))
    secret = make.some(_HEX, 32)
    yield Planted("url", secret, f"https://{secret}@o12.ingest.example.org/345", ("o12.ingest.example.org/345",))
    for name in (
        "api_key",
        "apikey",
        "access_token",
        "token",
        "sig",
        "X-Amz-Signature",
        "key",
        "password",
        "client_secret",
    ):
        secret = f"{make.some(_ALNUM, 20)}7{make.some(_ALNUM, 9)}"
        text = f"404 for url: https://api.example.org/v1?page=2&{name}={secret}&sort=asc"
        yield Planted("query", secret, text, ("page=2", name, "sort=asc"))
    secret = make.some(_ALNUM, 24)
    yield Planted("query", secret, f"next=https%3A%2F%2Fapi.example.org%3Fapi_key%3D{secret}", ("api.example.org",))
    secret = f"T0{make.some(string.digits, 8)}/B0{make.some(string.digits, 8)}/{make.some(_ALNUM, 24)}"
    yield Planted(
        "webhook", secret, f"POST https://hooks.slack.com/services/{secret} answered 500", ("hooks.slack.com",)
    )
    secret = f"{make.some(string.digits, 18)}/{make.some(_URL64, 68)}"
    yield Planted("webhook", secret, f"https://discord.com/api/webhooks/{secret} is gone", ("discord.com", "is gone"))
    secret = f"{make.some(_ALNUM, 40)}%3D"
    yield Planted(
        "sas", secret, f"https://x.blob.example.net/c?sv=2023-11-03&sr=b&sig={secret}&se=2026", ("sr=b", "se=2026")
    )


def _headers(make):
    for scheme in ("Bearer", "Token", "Basic"):
        for form in (
            "Authorization: {scheme} {secret}",
            "{{'Authorization': '{scheme} {secret}', 'Accept': '*/*'}}",
            "[(b'authorization', b'{scheme} {secret}'), (b'host', b'example.org')]",
            'headers={{"Authorization": "{scheme} {secret}"}}',
        ):
            password = make.password()
            secret = (
                base64.b64encode(f"bob:{password}".encode()).decode() if scheme == "Basic" else make.some(_ALNUM, 30)
            )
            yield Planted("header", secret, form.format(scheme=scheme, secret=secret), (scheme,))
    for name in ("X-Api-Key", "X-Auth-Token", "Ocp-Apim-Subscription-Key", "X-Vault-Token", "Private-Token", "Cookie"):
        secret = make.some(_ALNUM, 26)
        yield Planted("header", secret, f"> {name}: {secret}\n> Accept: */*", (name, "Accept: */*"))
        secret = make.some(_ALNUM, 26)
        yield Planted(
            "header", secret, f"{{'{name}': '{secret}', 'Accept': 'text/csv'}}", (name, "'Accept': 'text/csv'")
        )
    secret = make.some(_HEX, 64)
    digest = f"Authorization: AWS4-HMAC-SHA256 Credential=x/20261126/eu, SignedHeaders=host, Signature={secret}"
    yield Planted("header", secret, digest, ("AWS4-HMAC-SHA256",))
    secret = make.some(_ALNUM, 40)
    yield Planted("header", secret, f"sent Bearer {secret} and got 403", ("and got 403",))


_PAIRS = (
    "{name}={secret}",
    "{name}={secret}, user=bob",
    "{name}='{secret}', user='bob'",
    '{name}="{secret}" user=bob',
    '{{"user": "bob", "{name}": "{secret}"}}',
    "{{'user': 'bob', '{name}': '{secret}'}}",
    "{name}: {secret}\nuser: bob",
    'Config(user="bob", {name}="{secret}")',
    "--{name} {secret} --user bob",
    "['run', '--{name}', '{secret}', '--user', 'bob']",
    'export {name}="{secret}"',
    '{{"body": "{{\\"{name}\\": \\"{secret}\\"}}"}}',
    "<{name}>{secret}</{name}>",
    "('{name}', '{secret}')",
)
_NAMES = (
    *("password", "passwd", "db_password", "PGPASSWORD", "userPassword", "secret", "client_secret", "clientSecret"),
    *("api_key", "apiKey", "API_KEY", "X_API_KEY", "access_key", "secret_key", "private_key_password", "auth_token"),
    *("access_token", "refreshToken", "id_token", "aws_secret_access_key", "encryption_key", "smtp_pass", "passphrase"),
    *("AZURE_CLIENT_SECRET", "consumer_secret", "webhook_secret", "token"),
)


def _pairs(make):
    for name in _NAMES:
        for form in make.random.sample(_PAIRS, 4):
            secret = make.password()
            yield Planted(
                "pair", secret, form.format(name=name, secret=secret), (name, *(("bob",) if "bob" in form else ()))
            )


def _connection_strings(make):
    for form in (
        "Driver={{ODBC Driver 18}};Server=db.example.org;Uid=bob;Pwd={secret};Encrypt=yes",
        "Server=db.example.org;User Id=bob;Password={secret};Encrypt=yes",
        "host=db.example.org user=bob password={secret} dbname=flights",
        "DefaultEndpointsProtocol=https;AccountName=bob;AccountKey={secret};EndpointSuffix=core.example.net",
        "Endpoint=sb://x.example.net/;SharedAccessKeyName=bob;SharedAccessKey={secret}",
        "mysql -u bob --password={secret} flights",
        "curl -u bob:{secret} https://example.org",
        "requests.get(url, auth=('bob', '{secret}'))",
        "login(user='bob', pwd='{secret}')",
    ):
        for _ in range(2):
            secret = make.password()
            yield Planted("connection", secret, form.format(secret=secret), ("bob",))


def _keys(make):
    for kind in ("RSA ", "", "EC ", "OPENSSH ", "ENCRYPTED "):
        lines, pem = make.pem(kind)
        yield Planted("private key", lines[1], f"cannot read the key:\n{pem}\nof bob", ("of bob",))
        lines, pem = make.pem(kind)
        account = json.dumps({"client": "bob", "private_key": pem + "\n", "kind": "service"})
        yield Planted("private key", lines[1], f"not a service account: {account}", ("bob",))
    secret = make.some(_ALNUM + "/+", 40)
    key = "AKIA" + make.some("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)
    yield Planted("cloud pair", secret, f"tried {key} {secret} and failed", ("tried", "and failed"))
    yield Planted(
        "cloud pair", secret, f"aws_access_key_id={key}\naws_secret_access_key={secret}\nregion=eu", ("region=eu",)
    )


def corpus():
    """Return the secrets, always the same."""
    make = _Maker(_SEED)
    makers = (_tokens, _urls, _headers, _pairs, _connection_strings, _keys)
    return [planted for maker in makers for planted in maker(make)]


def look_alikes():
    """Return texts that only look like secrets."""
    make = _Maker(_SEED + 1)
    commit, digest = make.some(_HEX, 40), make.some(_HEX, 64)
    run = "5f0c1c52-6a9d-4f0e-9f6e-2f8f8d2c1b11"
    return [
        f"commit {commit} of flights, and its short form {commit[:9]}",
        f"sha256:{digest} does not match the sha256 digest {digest[::-1]}",
        f"the flow run {run} (pink-bee) failed, see http://127.0.0.1:4200/runs/flow-run/{run}",
        f"md5={make.some(_HEX, 32)} etag: {make.some(_HEX, 32)}",
        "2026-11-26T01:17:37.123456+00:00 to 2026-11-27",
        "/var/lib/flights/2013/07/part-00001-of-00012.snappy.parquet is 12 bytes short",
        "s3://bucket/flights/2013/07/part-0001.parquet",
        "http://127.0.0.1:8080/v1/flights?page=2&sort=asc&carrier=UA",
        "mail from bob@example.org:25 to ann@example.org",
        "http://example.org:8080/users/bob@example.org",
        "the token expired; the password is wrong; no secret was given",
        "invalid token, missing api key and empty password",
        "password=None, token=null, secret='', api_key=\"***\"",
        "password: must be at least 8 characters",
        "max_tokens=512 total_tokens=12345678 tokens: 300 tokenizer=bert",
        '{"max_tokens": 512, "usage": {"prompt_tokens": 1234567}, "token_type": "bearer"}',
        "author=Ann, authority: port, passengers=3, bypass=4, compass: north, secretary=Bob",
        "KeyError: 'api_key'",
        "key error: 'api_key'",
        "missing fields: ['api_key', 'password', 'region']",
        "f() missing 1 required positional argument: 'password'",
        "f() got an unexpected keyword argument 'token'",
        "unexpected token: '}' near line 3",
        "Unexpected token < in JSON at position 0",
        "primary_key=17 sort_key=distance partition_key=2013-07 key=UA",
        "secret_name=prod/db password_file=/run/secrets/db token_url=https://example.org/oauth",
        "Basic authentication failed, a bearer token is required",
        "authorization: denied for user bob",
        "status code: 500, error code=404",
        "PWD=/home/bob OLDPWD=/tmp",
        "Access denied for user 'bob'@'localhost' (using password: YES)",
        "ImportError: cannot import name 'TokenBucket' from 'secrets_manager'",
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 is a public key",
        f"data:image/png;base64,iVBORw0KGgoAAAANSUhEUg{make.base64(60)}",
        "attempt 2 of 5: ConnectError; waits 4.1 s",
        "column 'distance': check greater_than(0) failed for -17 in row 00012345678901234567890",
        "arn:aws:iam::123456789012:role/flights",
        "eos_token='</s>', pad_token='[PAD]'",
    ]
