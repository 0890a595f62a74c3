"""slack-sdk's two clients, without redirects: a token or a secret URL is sent only to the host that the user named.

slack-sdk (3.48) opens requests with `urllib.request.urlopen`, which follows redirects with the token in the headers,
and has no option against it. So the one method of each client that opens a request is overridden here.
"""

from __future__ import annotations

import logging
from typing import Any
from urllib.request import Request

from slack_sdk import WebClient
from slack_sdk.webhook import WebhookClient, WebhookResponse

from resilient_tasks.alerts.channels.http_post import LONGEST_ANSWER, opened

# slack-sdk logs the URL of a webhook and of a proxy. This logger is outside the logger tree, so no level and no handler
# reveals them.
_SILENT = logging.Logger("resilient_tasks.slack", level=logging.CRITICAL + 1)  # noqa: LOG001  # see above


class _Bot(WebClient):
    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:  # noqa: ARG002
        with opened(req, self.timeout) as answer:
            return {"status": answer.status, "headers": answer.headers, "body": _body(answer)}


class _Webhook(WebhookClient):
    def _perform_http_request_internal(self, url: str, req: Request) -> WebhookResponse:
        with opened(req, self.timeout) as answer:
            return WebhookResponse(url=url, status_code=answer.status, body=_body(answer), headers=answer.headers)


def _body(answer: Any) -> str:
    return str(answer.read(LONGEST_ANSWER).decode("utf-8"))


for _own, _theirs in ((_Bot, WebClient), (_Webhook, WebhookClient)):
    if _missing := [name for name in vars(_own) if name.startswith("_perform") and not hasattr(_theirs, name)]:
        _msg = f"this slack-sdk follows redirects with the token, as it has no {_missing[0]}: install 3.30 to 3.48"
        raise ImportError(_msg)


def bot(token: str, base_url: str, seconds: float) -> WebClient:
    """Return a client of Slack's API. It tries once; each wait for the server may take `seconds`."""
    return _Bot(token, base_url=base_url, timeout=seconds, logger=_SILENT, retry_handlers=[])  # type: ignore[arg-type]  # fractions work


def webhook(url: str, seconds: float) -> WebhookClient:
    """Return a client of an incoming webhook. It tries once, as `bot` does."""
    return _Webhook(url, timeout=seconds, logger=_SILENT, retry_handlers=[])  # type: ignore[arg-type]  # as above
