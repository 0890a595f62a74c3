"""Decide by a name whether its value is a secret: `hmac_key`, `storageAccountKey`, `--db-password`, `X-Api-Key`.

A name is split into words. The last word for a secret decides, together with the words before it (`api key`, not
`sort key`) and after it (`password_2`, not `password_file`).
"""

from __future__ import annotations

import enum
import functools

from resilient_tasks.redaction.patterns import compiled


def words(text: str) -> frozenset[str]:
    """Return the words of a text as a set."""
    return frozenset(text.split())


class Confidence(enum.IntEnum):
    """How confidently a name tells that its value is a secret."""

    NONE = 0
    #: A secret if it looks random.
    IF_RANDOM = 1
    #: A secret unless it is a small number or a placeholder.
    LIKELY = 2
    #: Always a secret.
    SURE = 3


#: The lowercase name of every secret contains one of these. The factored form is twice as fast.
HIT = compiled(
    r"p(?:ass|s?w|sk|in|em|hrase|arola)|se(?:cret|curity.?a|ss|ed|nha)|token|k(?:ey|ek|ennwort)|c(?:red|ookie|ode|ontrase)"
    r"|auth|t.?assertion|snmp.?c|s(?:ig|as|alt|id|rf)|hmac|jwt|otp|mnemonic|dek|nonce|wachtwoord|_pat(?![a-z])"
)


_SURE = words(
    "password passwd passwort passphrase passcode pwd pswd psw pword userpassword mypassword secret secrets credential "
    "credentials cred creds apikey secretkey privatekey accesskey authkey apisecret appsecret clientsecret apitoken "
    "authtoken accesstoken refreshtoken sessiontoken pgpass sshpass userpass dbpass mnemonic kek "
    "requirepass masterauth dek storepass keypass psk userpwd dbpwd mypwd passw pwds passes passwords kennwort passe "
    "passord contrasena contraseña senha wachtwoord parola"
)
_LIKELY = words(
    "token tokens jwt cookie cookies sessionid sessid sid otp totp pw pass xsrf csrf csrftoken xsrftoken jsessionid "
    "phpsessid"
)
_VAGUE = words(
    "key keys auth authorization code session pin salt seed nonce sess signature sig sas hmac pem pat assertion"
)
#: Second words that name a secret only after certain first words.
_TOGETHER = {
    "answer": words("security secret recovery"),
    "code": words("recovery backup mfa 2fa otp totp pairing unlock"),
    "codes": words("recovery backup mfa 2fa otp totp scratch"),
    "community": words("snmp"),
    "phrase": words("seed recovery backup wallet secret pass key"),
    "seed": words("totp otp mfa wallet bip39 hd"),
}
_BY_WORD = {
    **dict.fromkeys(_VAGUE, Confidence.IF_RANDOM),
    **dict.fromkeys(_LIKELY, Confidence.LIKELY),
    **dict.fromkeys(_SURE, Confidence.SURE),
}
_NOUNS = frozenset({*_BY_WORD, *_TOGETHER})

#: A `key` after these words is a secret ...
_KEYS = words(
    "access account admin aes api app application auth authentication authorization aws azure blowfish box "
    "cert certificate chacha cipher client cloud cmk consumer cookie credential crypt crypto cryptographic curve "
    "decrypt decryption deploy deployment derived des dkim dsa ecdsa ed25519 ec enc encrypt "
    "encrypted encryption fernet functions gcm gpg hmac ikm integration jwk jwt kms kubeconfig "
    "licence license maps master mac nacl oauth openssh password pem pgp pre preshared private "
    "provisioning psk recovery registration root rsa salt sas seal secret secrets security "
    "server service session shared sig sign signature signed signing smtp ssh ssl static storage subscription "
    "symmetric tls token totp vapid vault wallet webhook wep wg wireguard wpa wrapping write x25519 xts "
    "plugin ingest ingestion publisher manage rest sdk authz bearer basic instrumentation fastly cosmos"
)
# ... and not after these: keys of a table, a mapping or a message, and public keys.
_OTHER_KEYS = words(
    "primary foreign sort partition cache public object row dict s3 group index unique natural surrogate routing hot "
    "idempotency shard range hash map config lookup join merge missing unknown invalid duplicate unexpected "
    "column columns field item bucket message event record dedup deduplication business composite candidate metric "
    "label translation registry redis json any each every first last next other same this that required optional "
    "valid extra verify verification publishable the a of by no which null option context state path blob store "
    "target parent child tag attribute property header param parameter argument setting sorting grouping "
    "flow task run job"
)
#: A `token` after these is a token of text.
_OTHER_TOKENS = words(
    "pad eos bos unk sep cls mask special stop end start max min num total prompt completion input output unexpected "
    "unknown invalid next first last bad near at this that new offending illegal expected cached reasoning per used "
    "n count number of the a any no image audio text word sub top predicted generated decoded sampled"
)
#: After one of these, the noun is counted: `num_secrets`.
_HOW_MANY = words("num number n count nr")
_OTHER_PASSES = words(
    "boarding season ski day bus rail train gate first second third final last next each per render band low high one "
    "two single forward backward training optimizer test quality all partial full by press free guest tourist museum "
    "interrail mountain travel hall back under over data multi in mail"
)
_OTHER_SESSIONS = words("sql the a this spark http requests client database db")

#: A name that ends with one of these is about a secret, and not its name.
_ABOUT = words(
    "type types count counts counter limit limits url urls uri uris endpoint name names id ids identifier file files "
    "filename path paths dir folder field fields column columns col cols len length min max minimum maximum age "
    "expiry expire expires expired in at on expiration ttl policy policies hint reset resets required requirements "
    "requirement valid invalid validity status state error errors format version versions size budget usage used "
    "bucket manager provider providers arn arns ref reference missing check checker checks checked method mode "
    "algorithm alg algo algorithms scheme schema header prefix suffix class validator validators store storage "
    "rotation rotated strength callback enabled disabled index indexes position pos row rows table host hostname port "
    "created updated modified changed source sources kind scope scopes audience issuer vault rate ratio percent "
    "score cost costs price prices per remaining left quota available consumed total sum avg mean usd time timeout "
    "date day days hours minutes seconds ms duration interval delay retry retries attempt attempts tries failures "
    "failed success generator factory builder handler helper service services server client parser reader writer "
    "loader error exception stream buffer cache caches pool queue list map mapping dict set group groups template "
    "templates pattern regex placeholder label title description text_field message messages prompt link page form "
    "view screen button input inputs location region zone space spaces distribution distributions vocab vocabulary "
    "embedding embeddings ids probability prob probs logprob logprobs throughput latency speed ring chain "
    "change changes change_required management alias aliases management_url recovery_url update updates "
    "expiration_date owner user username "
    "email account_name length_limit bits usage_count metadata info kid curve ops order bits signature_type "
    "complexity history histories lifetime window windows leeway grace flow flows grant request requests response "
    "responses exists present sock socket process agent set_at seen stdin stdout "
    "prompt fd command cmd from via encoding charset alphabet chars characters case shape shapes"
)
#: After a noun, these words keep its confidence; any other word lowers it.
_NEUTRAL = words(
    "value values val text string str plain plaintext cleartext raw hash hashed digest base64 b64 hex encoded "
    "encrypted decrypted enc bytes data base old new current previous prev primary secondary main default prod "
    "production staging stage dev test live local root admin confirm confirmation again repeat key keys token "
    "secret password hmac sha sha1 sha256 sha512 md5 v v1 v2 v3"
)

#: In Hadoop's settings, a secret's name ends with a storage account.
_OF_STORAGE = compiled(r"\.[\w-]{1,60}\.(?:dfs|blob)\.core\.windows\.net$")
#: One word written as two: `passWord`, `pass-word`.
_IN_TWO = compiled(r"(?<=[Pp]ass)(?:[_-]?W|[_-]w)(?=(?:or)?d(?![a-z]))")
_SPLIT = compiled(r"[\W_]+")
_HUMPS = compiled(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_GLUED = compiled(
    r"(\w*?)(password|passwd|passphrase|passcode|pwd|secret|token|credentials|credential|apikey|secretkey|"
    r"privatekey|accesskey|authkey|accountkey|signingkey|encryptionkey|masterkey|sharedkey|sessionkey|sshkey|"
    r"sessionid|cookie|signature|keypair)s?(\d*)"
)
#: Words that contain a noun for secrets by chance.
_CHANCE = frozenset({"nontoken", "detoken", "subtoken"})
_PW = compiled(r"(?:user|db|bind|root|admin|my|ldap|smtp|ftp|sql|app|login|svc|ssh|sa|key|store|web|mail)pw")
_KEY_ENDS = compiled(
    r"(api|access|account|auth|secret|private|signing|encryption|master|shared|session|ssh|host|client|server|app|"
    r"storage|license|service|webhook|hmac|fernet|aes|rsa|jwt|enc|crypt|deploy|admin|user|subscription)keys?"
)


@functools.lru_cache(maxsize=4096)
def noun_of(name: str) -> str:
    """Return the last word of `name` that is a noun for secrets, in lowercase; otherwise its last word."""
    parts = [word.rstrip("0123456789") or word for word in words_of(name)]
    return next((word for word in reversed(parts) if word in _NOUNS), parts[-1] if parts else "")


@functools.lru_cache(maxsize=4096)
def confidence(name: str) -> Confidence:
    """Return how confidently `name` tells that its value is a secret."""
    parts = words_of(_OF_STORAGE.sub("", name))
    for at in range(len(parts) - 1, -1, -1):
        if found := _noun(parts, at):
            return _with_what_follows(found, parts, at)
        if parts[at] in _ABOUT:
            return Confidence.NONE
    return Confidence.NONE


def words_of(name: str) -> list[str]:
    """Return the words in a name, in lowercase."""
    name = _IN_TWO.sub("w", name)
    return [word for part in _SPLIT.split(name) if part for word in _HUMPS.sub(" ", part).lower().split()]


def _noun(parts: list[str], at: int) -> Confidence:  # noqa: PLR0911  # one per kind of noun
    word, before = parts[at].rstrip("0123456789") or parts[at], parts[at - 1] if at else ""
    if word not in _NOUNS:
        return _glued(word)
    if word in _TOGETHER and before in _TOGETHER[word] and at:
        return Confidence.LIKELY
    if word in {"key", "keys"}:
        if before in _OTHER_KEYS:
            return Confidence.NONE
        return Confidence.SURE if before in _KEYS and at else Confidence.IF_RANDOM
    if word.endswith("s") and not word.endswith("ss") and _HOW_MANY.intersection(parts[:at]):
        return Confidence.NONE
    if word in {"token", "tokens"} and before in _OTHER_TOKENS:
        return Confidence.NONE
    if word == "pass" and before in _OTHER_PASSES:
        return Confidence.NONE
    if word == "session" and before in _OTHER_SESSIONS:
        return Confidence.NONE
    return _BY_WORD.get(word, Confidence.NONE)


def _glued(word: str) -> Confidence:
    """Return the confidence of a compound: `dbpassword`, `PGPASSWORD`, `authtoken`, `accountkey`."""
    if word in _CHANCE:
        return Confidence.NONE
    if _PW.fullmatch(word) is not None:
        return Confidence.SURE
    if (match := _GLUED.fullmatch(word)) is not None:
        noun = match[2]
        return Confidence.LIKELY if noun in {"token", "cookie", "signature", "sessionid"} else Confidence.SURE
    return Confidence.SURE if _KEY_ENDS.fullmatch(word) is not None else Confidence.NONE


def _with_what_follows(found: Confidence, parts: list[str], at: int) -> Confidence:
    behind = parts[at + 1 :]
    if not behind:
        return found
    if any(word in _ABOUT for word in behind):
        return Confidence.NONE
    if all(word in _NEUTRAL or word.isdigit() for word in behind):
        return found
    return Confidence.LIKELY if found is Confidence.SURE else Confidence.IF_RANDOM
