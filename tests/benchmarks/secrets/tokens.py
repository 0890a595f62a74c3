"""Part (d): tokens as their issuers publish them, in neutral text, where no name shows that they are secret.

Each shape is a prefix with an alphabet and a length, taken from the issuer's documentation or, where that is silent,
from the rules of public secret scanners (gitleaks and kingfisher, both as of 2025). Only distinctive shapes are here:
32 plain hexadecimal digits are none. The tokens are generated when this runs; none is in this file.

In a shape, `<A36>` stands for 36 letters and digits; the alphabets are those of `_ALPHABETS`.
"""

from __future__ import annotations

import base64
import json
import re
import string
from collections.abc import Callable, Iterator

from cases import ALNUM, HEX, URL64, Case, Maker

_ALPHABETS = {
    "A": ALNUM,
    "a": string.ascii_letters,
    "U": string.ascii_uppercase + string.digits,
    "l": string.ascii_lowercase + string.digits,
    "d": string.digits,
    "h": HEX,
    "H": HEX.upper(),
    "u": URL64,
    "w": ALNUM + "_",
    "b": ALNUM + "+/",
    "B": "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
    "k": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
}
_PART = re.compile(r"<(\w)(\d+)>")

#: Issuers and the shapes of their tokens.
SHAPES = {
    # source code, packages, continuous integration
    "GitHub": "ghp_<A36> gho_<A36> ghu_<A36> ghs_<A36> ghr_<A76> github_pat_<A22>_<A59>",
    "GitLab": (
        "glpat-<u20> gldt-<u20> glrt-<u20> glcbt-<A2>_<u20> glptt-<h40> glft-<u20> glimt-<u25> glagent-<u50>"
        " glsoat-<u20> glffct-<u20> gloas-<h64> GR1348941<u20> glrt-t1_<u27>.<l2><l7>"
    ),
    "Atlassian": "ATATT3xFfGF0<u180>=<H8> ATCTT3xFfGN0<u180>=<H8> ATBB<A32>",
    "npm": "npm_<A36>",
    "PyPI": "pypi-AgEIcHlwaS5vcmc<u100> pypi-AgENdGVzdC5weXBpLm9yZw<u100>",
    "RubyGems": "rubygems_<h48>",
    "NuGet": "oy2<l43>",
    "crates.io": "cio<A32>",
    "Clojars": "CLOJARS_<h60>",
    "Docker Hub": "dckr_pat_<u27> dckr_oat_<u32>",
    "Artifactory": "AKCp<A69> cmVmd<A59>",
    "CircleCI": "CCIPAT_<A22>_<h40> CCIPRJ_<A22>_<h40>",
    "Buildkite": "bkua_<l40> bkpat_<l40>",
    "SonarQube": "sqp_<h40> squ_<h40> sqa_<h40>",
    "Sourcegraph": "sgp_<h16>_<h40> sgp_<h40> slk_<h64>",
    "Postman": "PMAK-<h24>-<h34>",
    "Octopus Deploy": "API-<U26>",
    "Harness": "pat.<u22>.<A24>.<A20>",
    "StackHawk": "hawk.<u20>.<u20>",
    "Infracost": "ico-<A32>",
    "Contentful": "CFPAT-<u43>",
    # chat and messages
    "Slack": (
        "xoxb-<d12>-<d13>-<A24> xoxp-<d12>-<d12>-<d13>-<h32> xapp-1-A<U10>-<d13>-<h64> xoxe.xoxp-1-<U166> xoxe-1-<U146>"
        " xoxr-<d12>-<A24>"
    ),
    "Discord": "M<a23>.<u6>.<u38> MTA<A23>.G<u5>.<u38>",
    "Telegram": "<d10>:AA<u33>",
    "SendGrid": "SG.<u22>.<u43>",
    "Mailgun": "key-<h32>",
    "Mailchimp": "<h32>-us<d2>",
    "Brevo": "xkeysib-<h64>-<A16>",
    "Twilio": "SK<h32>",
    "Typeform": "tfp_<w59>",
    "Linear": "lin_api_<A40> lin_oauth_<h64>",
    "Notion": "ntn_<d11><A35> secret_<A43>",
    "Airtable": "pat<A14>.<h64>",
    "Figma": "figd_<u40> figu_<u40>",
    "HubSpot": "pat-na1-<h8>-<h4>-<h4>-<h4>-<h12>",
    "ClickUp": "pk_<d8>_<U32>",
    "Frame.io": "fio-u-<u64>",
    "ReadMe": "rdme_<l70>",
    "Dropbox": "sl.<u140>",
    "Zoho": "1000.<h32>.<h32>",
    # payments
    "Stripe": "sk_live_<A24> sk_test_<A24> rk_live_<A24> sk_live_<A99> whsec_<A32>",
    "Square": "sq0atp-<u22> sq0csp-<u43> EAAA<u60>",
    "Shopify": "shpat_<h32> shpca_<h32> shppa_<h32> shpss_<h32>",
    "PayPal Braintree": "access_token$production$<l16>$<h32>",
    "Plaid": "access-sandbox-<h8>-<h4>-<h4>-<h4>-<h12> access-production-<h8>-<h4>-<h4>-<h4>-<h12>",
    "Adyen": "AQE<b120>=-<b43>=-<A10>",
    "Flutterwave": "FLWSECK_TEST-<h32>-X FLWSECK-<h32>-X",
    "Razorpay": "rzp_live_<A14>",
    "Paystack": "sk_live_<h40>",
    "EasyPost": "EZAK<A54> EZTK<A54>",
    "Shippo": "shippo_live_<h40> shippo_test_<h40>",
    "Duffel": "duffel_live_<u43> duffel_test_<u43>",
    # models
    "OpenAI": (
        "sk-<A20>T3BlbkFJ<A20> sk-proj-<u74>T3BlbkFJ<u74> sk-svcacct-<u74>T3BlbkFJ<u74> sk-admin-<u74>T3BlbkFJ<u74>"
    ),
    "Anthropic": "sk-ant-api03-<u93>AA sk-ant-admin01-<u93>AA sk-ant-oat01-<u93>AA",
    "Hugging Face": "hf_<a34> api_org_<a34>",
    "Groq": "gsk_<A52>",
    "Replicate": "r8_<A37>",
    "xAI": "xai-<A80>",
    "Perplexity": "pplx-<A48>",
    "NVIDIA": "nvapi-<u64>",
    "OpenRouter": "sk-or-v1-<h64>",
    "ElevenLabs": "sk_<h48>",
    "Fireworks": "fw_<A24>",
    "LangSmith": "lsv2_pt_<h32>_<h10> lsv2_sk_<h32>_<h10>",
    "Langfuse": "sk-lf-<h8>-<h4>-<h4>-<h4>-<h12>",
    "Weights & Biases": "wandb_v1_<A77>",
    "Pinecone": "pcsk_<A6>_<A63>",
    "Tavily": "tvly-<A32>",
    "Firecrawl": "fc-<h32>",
    # clouds
    "AWS": "AKIA<B16> ASIA<B16> ABSK<b130>=",
    "Google": "AIza<u35> ya29.<u120> GOCSPX-<u28> 1//0<u60>",
    "Azure": "<A3>8Q~<A34> <A42>AzSeA<A5> <b76>ACDb<b6>== <b76>+ASt<b6>== <A52>JQQJ99<A18>AZDO<A4>",
    "Alibaba": "LTAI<A20>",
    "Tencent": "AKID<A32>",
    "DigitalOcean": "dop_v1_<h64> doo_v1_<h64> dor_v1_<h64>",
    "Heroku": "HRKU-AA<u58>",
    "Fly.io": "fm2_<b110>== fo1_<u43> fm1r_<b110>==",
    "Render": "rnd_<A32>",
    "Netlify": "nfp_<A36>",
    "Vercel": "vcp_<A56>",
    "Supabase": "sbp_<h40> sb_secret_<u31>",
    "PlanetScale": "pscale_tkn_<u43> pscale_pw_<u43> pscale_oauth_<u43>",
    "Neon": "napi_<l64>",
    "Cloudflare": "v1.0-<h24>-<h146>",
    "Scalingo": "tk-us-<u48>",
    "OpenShift": "sha256~<u43>",
    "Tailscale": "tskey-auth-<A17>-<A32> tskey-api-<A17>-<A32>",
    # infrastructure
    "Vault": "hvs.<u95> hvs.<A24> hvb.<u150> hvr.<u95>",
    "Terraform Cloud": "<A14>.atlasv1.<A67>",
    "Pulumi": "pul-<h40>",
    "Doppler": "dp.pt.<A43> dp.st.dev.<A43> dp.ct.<A43> dp.sa.<A43>",
    "1Password": "A3-<U6>-<U6>-<U5>-<U5>-<U5>-<U5> ops_eyJ<A260>",
    "Infisical": "st.<h24>.<h32>.<h32>",
    "age": "AGE-SECRET-KEY-1<k58>",
    "Okta": "SSWS 00<u40>",
    "Prefect": "pnu_<A36> pnb_<A36>",
    "Databricks": "dapi<h32> dapi<h32>-2 dkea<h32>-2 dose<h32>",
    "dbt Cloud": "dbtc_<u36> dbtu_<u36>",
    "Snyk": "snyk_uat.<A8>.<u60>",
    "Grafana": "glsa_<A32>_<h8> glc_<b100>= eyJrIjoi<A90>==",
    "New Relic": "NRAK-<U27> NRII-<u32>",
    "Sentry": "sntryu_<h64> sntrys_eyJ<b120>=_<b43>",
    "Dynatrace": "dt0c01.<U24>.<U64>",
    "Honeycomb": "hcaik_<l58> hcxik_<l58>",
    "PostHog": "phx_<A43>",
    "Logfire": "pylf_v1_us_<A43>",
    "LaunchDarkly": "sdk-<h8>-<h4>-<h4>-<h4>-<h12>",
    "MaxMind": "<A6>_<A29>_mmk",
    "Segment": "sgp_<A64>",
    "Adafruit": "aio_<A28>",
    "Apify": "apify_api_<A36>",
    "Resend": "re_<A8>_<A24>",
    "Salesforce": "00D<A12>!<u96>",
    "Facebook": "EAACEdEose0cBA<A160> <d16>|<u27>",
    "Instagram": "IGQV<A130>",
    "LinkedIn": "WPL_AP1.<A16>.<A6>==",
    "MongoDB Atlas": "mdb_sa_sk_<u6><A34>",
}
_AROUND = (
    "401 Client Error: Unauthorized for {}",
    "the call with {} was refused after 3 attempts",
    "{{'used': '{}', 'rows': 12}}",
    '{{"sent": "{}", "rows": 12}}',
    "see {}\nand the line after it",
    "x={}; rows=12",
    "upload of part 7 of 12 ({}) stopped",
    "{}",
)
_BY_SHAPE = 3


def generated(shape: str, make: Maker) -> str:
    """Return a token of a shape."""
    return _PART.sub(lambda part: make.some(_ALPHABETS[part[1]], int(part[2])), shape)


def _pem(kind: str) -> Callable[[Maker], str]:
    def made(make: Maker) -> str:
        body = base64.b64encode(make.random.randbytes(240)).decode()
        lines = [body[at : at + 64] for at in range(0, len(body), 64)]
        return "\n".join((f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----"))

    return made


def _webhook(address: str) -> Callable[[Maker], str]:
    return lambda make: generated(address, make)


#: Secrets of several lines or words, and the part that is searched: of a key its second line.
BLOCKS: dict[str, tuple[Callable[[Maker], str], Callable[[str], str]]] = {
    **{
        kind: (_pem(kind), lambda text: text.splitlines()[2])
        for kind in (
            *("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY", "OPENSSH PRIVATE KEY"),
            *("ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK"),
        )
    },
    "JSON web token": (Maker.jwt, lambda text: text.rpartition(".")[2]),
    "Slack webhook": (_webhook("https://hooks.slack.com/services/T<U10>/B<U10>/<A24>"), lambda text: text[-24:]),
    "Slack trigger": (_webhook("https://hooks.slack.com/triggers/T<U10>/<d13>/<h32>"), lambda text: text[-32:]),
    "Discord webhook": (_webhook("https://discord.com/api/webhooks/<d19>/<u68>"), lambda text: text[-68:]),
    "Teams webhook": (
        _webhook("https://acme.webhook.office.com/webhookb2/<h8>-<h4>-<h4>-<h4>-<h12>/IncomingWebhook/<h32>/<h8>"),
        lambda text: text[-41:-9],
    ),
    "PuTTY key": (
        lambda make: (
            f"PuTTY-User-Key-File-3: ssh-ed25519\nPrivate-Lines: 1\n{make.some(ALNUM, 48)}\nPrivate-MAC: "
            + make.some(HEX, 64)
        ),
        lambda text: text.splitlines()[2],
    ),
    "JWT in JSON": (
        lambda make: json.dumps({"rows": 12, "sent": make.jwt()}),
        lambda text: text.rpartition(".")[2].rstrip('"}'),
    ),
}


def kinds() -> list[str]:
    """Return the names of all shapes."""
    return [*(f"{issuer}: {shape}" for issuer, shape in _shapes()), *BLOCKS]


def _shapes() -> Iterator[tuple[str, str]]:
    for issuer, shapes in SHAPES.items():
        for shape in [shapes] if issuer == "Okta" else shapes.split():
            yield issuer, shape


def cases() -> Iterator[Case]:
    """Yield each shape several times, in different texts."""
    make = Maker("tokens")
    for issuer, shape in _shapes():
        for around in make.random.sample(_AROUND, _BY_SHAPE):
            token = generated(shape, make)
            yield Case(f"{issuer}: {shape}", issuer, token, (token,), around.format(token))
    for name, (made, secret_of) in BLOCKS.items():
        for before, after in (("", ""), ("cannot read ", "\nof bob"), ("the answer was '", "'")):
            text = made(make)
            secret = secret_of(text)
            yield Case(name, name, secret, (secret,), f"{before}{text}{after}")
