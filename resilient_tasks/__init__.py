"""Negative engineering for Prefect 3: composable policies around tasks, flows and plain functions.

    from resilient_tasks import resilient_task, Retry, Validate, Fallback, Slack

Public names load on first use, so importing this package costs almost nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from resilient_tasks.alerts.channels.console import Console
    from resilient_tasks.alerts.channels.email import Email
    from resilient_tasks.alerts.channels.slack import Slack
    from resilient_tasks.alerts.channels.webhook import Webhook
    from resilient_tasks.alerts.policy import Notify
    from resilient_tasks.alerts.routes import Route
    from resilient_tasks.core.abandoned import abandoned
    from resilient_tasks.core.call import remaining
    from resilient_tasks.core.errors import (
        BulkheadFull,
        CircuitOpen,
        DeadlineExceeded,
        DegradedRun,
        DriftDetected,
        InvalidData,
        PolicyError,
        PredicateError,
        ProcessDied,
        RateLimited,
        ResilienceError,
        ResultRejected,
        TimedOut,
        UnobservedFailure,
    )
    from resilient_tasks.core.failures import classify, register_kind
    from resilient_tasks.core.first_attempts import current_call
    from resilient_tasks.core.hosts import host_of
    from resilient_tasks.core.kinds import Kind
    from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
    from resilient_tasks.core.pipeline import Pipeline, Policy
    from resilient_tasks.core.settings import configure
    from resilient_tasks.decorate import explain, resilient
    from resilient_tasks.observe.logs import get_logger
    from resilient_tasks.observe.report import RunReport
    from resilient_tasks.orchestrate.flow import resilient_flow
    from resilient_tasks.orchestrate.task import outcome_of, resilient_task
    from resilient_tasks.policies.adaptive_rate_limit import AdaptiveRateLimit
    from resilient_tasks.policies.breaker import CircuitBreaker
    from resilient_tasks.policies.bulkhead import Bulkhead
    from resilient_tasks.policies.chaos import Chaos
    from resilient_tasks.policies.deadline import Deadline
    from resilient_tasks.policies.fallback import Fallback
    from resilient_tasks.policies.hedge import Hedge
    from resilient_tasks.policies.last_good import LastGood
    from resilient_tasks.policies.rate_limit import RateLimit
    from resilient_tasks.policies.retry import Retry, RetryBudget
    from resilient_tasks.policies.single_flight import SingleFlight
    from resilient_tasks.policies.timeout import Timeout
    from resilient_tasks.policies.validate import Validate
    from resilient_tasks.quarantine.quarantine import Quarantine
    from resilient_tasks.validation.drift import Drift
    from resilient_tasks.validation.split import Split

_MODULES = {
    "core.call": ("remaining",),
    "core.first_attempts": ("current_call",),
    "core.errors": (
        "BulkheadFull",
        "CircuitOpen",
        "DeadlineExceeded",
        "DegradedRun",
        "DriftDetected",
        "InvalidData",
        "PolicyError",
        "PredicateError",
        "ProcessDied",
        "RateLimited",
        "ResilienceError",
        "ResultRejected",
        "TimedOut",
        "UnobservedFailure",
    ),
    "core.failures": ("classify", "register_kind"),
    "core.hosts": ("host_of",),
    "core.kinds": ("Kind",),
    "core.outcome": ("Degraded", "Failed", "Ok", "Outcome"),
    "core.pipeline": ("Pipeline", "Policy"),
    "core.settings": ("configure",),
    "core.abandoned": ("abandoned",),
    "decorate": ("explain", "resilient"),
    "alerts.channels.console": ("Console",),
    "alerts.channels.email": ("Email",),
    "alerts.policy": ("Notify",),
    "alerts.routes": ("Route",),
    "alerts.channels.slack": ("Slack",),
    "alerts.channels.webhook": ("Webhook",),
    "observe.logs": ("get_logger",),
    "observe.report": ("RunReport",),
    "orchestrate.flow": ("resilient_flow",),
    "orchestrate.task": ("outcome_of", "resilient_task"),
    "policies.adaptive_rate_limit": ("AdaptiveRateLimit",),
    "policies.breaker": ("CircuitBreaker",),
    "policies.bulkhead": ("Bulkhead",),
    "policies.chaos": ("Chaos",),
    "policies.deadline": ("Deadline",),
    "policies.fallback": ("Fallback",),
    "policies.hedge": ("Hedge",),
    "policies.last_good": ("LastGood",),
    "policies.rate_limit": ("RateLimit",),
    "policies.retry": ("Retry", "RetryBudget"),
    "policies.single_flight": ("SingleFlight",),
    "policies.timeout": ("Timeout",),
    "policies.validate": ("Validate",),
    "quarantine.quarantine": ("Quarantine",),
    "validation.drift": ("Drift",),
    "validation.split": ("Split",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "AdaptiveRateLimit",
    "Bulkhead",
    "BulkheadFull",
    "Chaos",
    "CircuitBreaker",
    "CircuitOpen",
    "Console",
    "Deadline",
    "DeadlineExceeded",
    "Degraded",
    "DegradedRun",
    "Drift",
    "DriftDetected",
    "Email",
    "Failed",
    "Fallback",
    "Hedge",
    "InvalidData",
    "Kind",
    "LastGood",
    "Notify",
    "Ok",
    "Outcome",
    "Pipeline",
    "Policy",
    "PolicyError",
    "PredicateError",
    "ProcessDied",
    "Quarantine",
    "RateLimit",
    "RateLimited",
    "ResilienceError",
    "ResultRejected",
    "Retry",
    "RetryBudget",
    "Route",
    "RunReport",
    "SingleFlight",
    "Slack",
    "Split",
    "TimedOut",
    "Timeout",
    "UnobservedFailure",
    "Validate",
    "Webhook",
    "abandoned",
    "classify",
    "configure",
    "current_call",
    "explain",
    "get_logger",
    "host_of",
    "outcome_of",
    "register_kind",
    "remaining",
    "resilient",
    "resilient_flow",
    "resilient_task",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
