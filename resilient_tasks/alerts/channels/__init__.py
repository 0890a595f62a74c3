"""One file a channel: Slack, e-mail, webhook, console, Prefect notification blocks."""
