"""Contexts of part (a): HTTP. See `contexts`."""

_HEADERS = (
    *(
        "X-Api-Key",
        "X-Auth-Token",
        "Ocp-Apim-Subscription-Key",
        "X-Vault-Token",
        "Private-Token",
        "api-key",
        "X-API-KEY",
    ),
    *("X-Amz-Security-Token", "x-functions-key", "DD-API-KEY", "DD-APPLICATION-KEY", "X-Shopify-Access-Token"),
    *("X-Hub-Signature-256", "Stripe-Signature", "X-Slack-Signature", "X-Twilio-Signature", "X-Amz-Signature"),
    *("X-CSRF-Token", "X-Goog-Api-Key", "Circle-Token", "JOB-TOKEN", "X-Auth-Key", "Fastly-Key", "X-Figma-Token"),
    *("X-Access-Token", "X-Session-Token", "apikey", "Xi-Api-Key", "X-Postmark-Server-Token", "X-Signature"),
)
_SPELLINGS = (
    "{}: §§",
    "> {}: §§\n> Accept: */*",
    "{{'Accept': '*/*', '{}': '§§'}}",
    '{{"{}": "§§", "Accept": "*/*"}}',
    "[('Accept', '*/*'), ('{}', '§§')]",
    "[(b'{}', b'§§'), (b'host', b'example.org')]",
    "Headers({{'{}': '§§'}})",
    "GET /v1 HTTP/1.1\r\nHost: example.org\r\n{}: §§\r\nAccept: */*\r\n\r\n",
    "b'GET /v1 HTTP/1.1\\r\\nHost: example.org\\r\\n{}: §§\\r\\nAccept: */*\\r\\n\\r\\n'",
    '["{}: §§", "Accept: */*"]',
)
_SCHEMES = (
    *("Bearer", "bearer", "Token", "token", "ApiKey", "Bot", "Splunk", "GenieKey", "SSWS", "Key", "Negotiate", "JWT"),
    *("DPoP", "NTLM"),
)
_AUTHORIZATIONS = (
    "Authorization: {} §§",
    "authorization: {} §§\nAccept: */*",
    "{{'Authorization': '{} §§', 'Accept': '*/*'}}",
    '{{"authorization": "{} §§"}}',
    "[(b'authorization', b'{} §§')]",
    "curl -H 'Authorization: {} §§' https://example.org",
    "Proxy-Authorization: {} §§",
    "Authorization={} §§",
    "headers=Headers([('authorization', '{} §§')])",
)


def _by_turns(names: tuple[str, ...], texts: tuple[str, ...], times: int) -> tuple[str, ...]:
    """Put each name into some of the texts, so that all texts are used."""
    size, count = len(texts), len(names)
    pairs = ((names[at % count], texts[(at + at // count * 3) % size]) for at in range(count * times))
    return tuple(dict.fromkeys(text.format(name) for name, text in pairs))


WEB: dict[str, tuple[str, tuple[str, ...]]] = {
    "headers": ("header", _by_turns(_HEADERS, _SPELLINGS, 2)),
    "Authorization": ("header", _by_turns(_SCHEMES, _AUTHORIZATIONS, 2)),
    "Authorization, other": (
        "header",
        (
            "Authorization: §§",
            "{'Authorization': '§§'}",
            'Authorization: Digest username="bob", realm="x", nonce="y", uri="/", response="§§"',
            "Authorization: AWS4-HMAC-SHA256 Credential=x/2026/eu/s3/aws4_request, SignedHeaders=host, Signature=§§",
            "Authorization: AWS AKIDEXAMPLE:§§",
            'Authorization: OAuth oauth_consumer_key="x", oauth_signature="§§", oauth_version="1.0"',
            "Authorization: SharedKey bob:§§",
            'Authorization: Hawk id="x", ts="1", nonce="y", mac="§§"',
            'Authorization: Signature keyId="x",algorithm="hmac-sha256",signature="§§"',
            "Authorization: SharedAccessSignature sr=x&sig=§§&se=1795778863&skn=y",
            "sent Bearer §§ and got 403",
            'WWW-Authenticate: Bearer error="invalid_token", token="§§"',
            "metadata: (('authorization', 'Bearer §§'), ('x-request-id', '12'))",
            'grpc: [("x-api-key", "§§"), ("user-agent", "grpc-python/1.70")]',
            "_Metadatum(key='authorization', value='Bearer §§')",
            "authorization%3A%20Bearer%20§§",
        ),
    ),
    "Basic": (
        "basic",
        (
            "Authorization: Basic §",
            "authorization: basic §\nAccept: */*",
            "{'Authorization': 'Basic §', 'Accept': '*/*'}",
            "[(b'authorization', b'Basic §')]",
            "Proxy-Authorization: Basic §",
            '{"headers": {"Authorization": ["Basic §"]}}',
            "> Authorization: Basic §\r\n> User-Agent: curl/8.5.0",
            "sent Basic § and got 401",
        ),
    ),
    "cookies": (
        "cookie",
        (
            "Cookie: sessionid=§§; theme=dark",
            "Cookie: theme=dark; sessionid=§§",
            "Cookie: theme=dark; csrftoken=x; JSESSIONID=§§",
            "Set-Cookie: session=§§; Path=/; HttpOnly",
            "{'Cookie': 'theme=dark; auth=§§'}",
            "set-cookie: __Secure-next-auth.session-token=§§; Secure",
            "[(b'cookie', b'PHPSESSID=§§')]",
            "< Set-Cookie: connect.sid=§§; Path=/",
            "<Cookie sessionid=§§ for example.org/>",
            "<RequestsCookieJar[<Cookie auth_token=§§ for example.org/>]>",
            "{'cookies': {'sessionid': '§§'}}",
            "document.cookie = 'token=§§'",
        ),
    ),
    "queries": (
        "form",
        (
            "404 for url: https://api.example.org/v1?page=2&api_key=§§&sort=asc",
            "GET /v1/flights?apikey=§§ HTTP/1.1",
            "https://api.example.org/v1?access_token=§§",
            "https://api.example.org/v1?key=§§&q=x",
            "https://example.org/login?user=bob&password=§",
            "https://example.org/reset?token=§§#top",
            "https://example.org/callback?code=§§&state=x",
            "https://example.org/x?client_id=bob&client_secret=§§",
            "wss://stream.example.org/?listenKey=x&signature=§§",
            "https://example.org/x?auth=§§",
            "https://example.org/#access_token=§§&token_type=bearer",
            "https://api.example.org/v1?subscription-key=§§",
            "https://api.example.org/data?appid=x&secret=§§",
            "https://api.example.org/x?hapikey=§§",
            "https://example.org/x?pwd=§",
            "https://example.org/x?sas_token=§§&y=1",
            '127.0.0.1 - - [27/Nov/2026:11:26:30 +0000] "GET /x?token=§§ HTTP/1.1" 200 12',
            "URL('https://example.org/x?refresh_token=§§')",
            "params={'page': 2} url=https://example.org/?auth_token=§§",
            "&amp;api_key=§§&amp;page=2",
        ),
    ),
    "forms": (
        "form",
        (
            "grant_type=password&username=bob&password=§",
            "grant_type=client_credentials&client_id=bob&client_secret=§&scope=x",
            "body: b'username=bob&password=§'",
            "grant_type=refresh_token&refresh_token=§§",
            "data='user=bob&pwd=§&go=1'",
            "password=§&username=bob",
        ),
    ),
    "URL in URL": (
        "percent",
        (
            "next=https%3A%2F%2Fapi.example.org%2F%3Fapi_key%3D§§",
            "next=https%3A%2F%2Fapi.example.org%3Fpage%3D2%26token%3D§§%26x%3D1",
            "url=postgresql%3A%2F%2Fbob%3A§§%40db%2Fflights",
        ),
    ),
    "multipart": (
        "anything",
        (
            'Content-Disposition: form-data; name="password"\r\n\r\n§\r\n--b12--',
            '\r\n\r\nbob\r\n--b12\r\nContent-Disposition: form-data; name="client_secret"\r\n\r\n§\r\n--b12--',
            'Content-Disposition: form-data; name="api_key"\nContent-Type: text/plain\n\n§§\n--b12--',
        ),
    ),
    "HTTP bodies": (
        "json",
        (
            'POST /login HTTP/1.1\r\nContent-Type: application/json\r\n\r\n{"user":"bob","password":§}',
            'HTTP 400: {"error": "bad", "request": {"password": §}}',
            '{"access_token": §§, "token_type": "bearer", "expires_in": 3600}',
            '{"data": {"login": {"token": §§}}}',
            '{"query": "mutation", "variables": {"user": "bob", "password": §}}',
            '{"AccessKeyId": "x", "SecretAccessKey": §§, "SessionToken": "y"}',
            '{"auth": {"client_token": §§, "lease_duration": 3600}}',
        ),
    ),
    "GraphQL": ("json", ('mutation { login(user: "bob", password: §) { id } }', "login(token: §§)")),
}
