"""Negative engineering for Prefect 3: composable policies around tasks, flows and plain functions.

    from resilient_tasks import resilient_task, Retry, Validate, Fallback, Slack

Public names load on first use, so importing this package costs almost nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from resilient_tasks.alerts.channels.console import Console as Console
    from resilient_tasks.alerts.channels.email import Email as Email
    from resilient_tasks.alerts.channels.slack import Slack as Slack
    from resilient_tasks.alerts.channels.webhook import Webhook as Webhook
    from resilient_tasks.alerts.policy import Notify as Notify
    from resilient_tasks.alerts.policy import Route as Route
    from resilient_tasks.core.call import remaining as remaining
    from resilient_tasks.core.classification.kinds import Kind as Kind
    from resilient_tasks.core.errors import BulkheadFull as BulkheadFull
    from resilient_tasks.core.errors import CircuitOpen as CircuitOpen
    from resilient_tasks.core.errors import DeadlineExceeded as DeadlineExceeded
    from resilient_tasks.core.errors import DegradedRun as DegradedRun
    from resilient_tasks.core.errors import DriftDetected as DriftDetected
    from resilient_tasks.core.errors import InvalidData as InvalidData
    from resilient_tasks.core.errors import PolicyError as PolicyError
    from resilient_tasks.core.errors import PredicateError as PredicateError
    from resilient_tasks.core.errors import ProcessDied as ProcessDied
    from resilient_tasks.core.errors import RateLimited as RateLimited
    from resilient_tasks.core.errors import ResilienceError as ResilienceError
    from resilient_tasks.core.errors import ResultRejected as ResultRejected
    from resilient_tasks.core.errors import TimedOut as TimedOut
    from resilient_tasks.core.errors import UnobservedFailure as UnobservedFailure
    from resilient_tasks.core.execution.abandoned import abandoned as abandoned
    from resilient_tasks.core.failures import classify as classify
    from resilient_tasks.core.failures import register_kind as register_kind
    from resilient_tasks.core.first_attempts import current_call as current_call
    from resilient_tasks.core.keys.hosts import host_of as host_of
    from resilient_tasks.core.outcome import Degraded as Degraded
    from resilient_tasks.core.outcome import Failed as Failed
    from resilient_tasks.core.outcome import Ok as Ok
    from resilient_tasks.core.outcome import Outcome as Outcome
    from resilient_tasks.core.pipeline import Pipeline as Pipeline
    from resilient_tasks.core.pipeline import Policy as Policy
    from resilient_tasks.core.settings import configure as configure
    from resilient_tasks.decorators.decorate import resilient as resilient
    from resilient_tasks.explanation.explanation import explain as explain
    from resilient_tasks.observe.logs import get_logger as get_logger
    from resilient_tasks.observe.report import RunReport as RunReport
    from resilient_tasks.policies.adaptive_rate_limit.policy import AdaptiveRateLimit as AdaptiveRateLimit
    from resilient_tasks.policies.breaker.policy import CircuitBreaker as CircuitBreaker
    from resilient_tasks.policies.bulkhead.policy import Bulkhead as Bulkhead
    from resilient_tasks.policies.chaos import Chaos as Chaos
    from resilient_tasks.policies.deadline import Deadline as Deadline
    from resilient_tasks.policies.fallback import Fallback as Fallback
    from resilient_tasks.policies.hedge import Hedge as Hedge
    from resilient_tasks.policies.last_good import LastGood as LastGood
    from resilient_tasks.policies.rate_limit.policy import RateLimit as RateLimit
    from resilient_tasks.policies.retry.policy import Retry as Retry
    from resilient_tasks.policies.retry.policy import RetryBudget as RetryBudget
    from resilient_tasks.policies.single_flight.policy import SingleFlight as SingleFlight
    from resilient_tasks.policies.timeout import Timeout as Timeout
    from resilient_tasks.policies.validate import Validate as Validate
    from resilient_tasks.prefect.flow import resilient_flow as resilient_flow
    from resilient_tasks.prefect.task import outcome_of as outcome_of
    from resilient_tasks.prefect.task import resilient_task as resilient_task
    from resilient_tasks.quarantine.quarantine import Quarantine as Quarantine
    from resilient_tasks.validation.drift import Drift as Drift
    from resilient_tasks.validation.report import Split as Split

_MODULE_OF = {
    name: module
    for module, names in {
        "alerts.channels.console": "Console",
        "alerts.channels.email": "Email",
        "alerts.channels.slack": "Slack",
        "alerts.channels.webhook": "Webhook",
        "alerts.policy": "Notify Route",
        "core.call": "remaining",
        "core.classification.kinds": "Kind",
        "core.errors": (
            "BulkheadFull CircuitOpen DeadlineExceeded DegradedRun DriftDetected InvalidData PolicyError"
            " PredicateError ProcessDied RateLimited ResilienceError ResultRejected TimedOut UnobservedFailure"
        ),
        "core.execution.abandoned": "abandoned",
        "core.failures": "classify register_kind",
        "core.first_attempts": "current_call",
        "core.keys.hosts": "host_of",
        "core.outcome": "Degraded Failed Ok Outcome",
        "core.pipeline": "Pipeline Policy",
        "core.settings": "configure",
        "decorators.decorate": "resilient",
        "explanation.explanation": "explain",
        "observe.logs": "get_logger",
        "observe.report": "RunReport",
        "policies.adaptive_rate_limit.policy": "AdaptiveRateLimit",
        "policies.breaker.policy": "CircuitBreaker",
        "policies.bulkhead.policy": "Bulkhead",
        "policies.chaos": "Chaos",
        "policies.deadline": "Deadline",
        "policies.fallback": "Fallback",
        "policies.hedge": "Hedge",
        "policies.last_good": "LastGood",
        "policies.rate_limit.policy": "RateLimit",
        "policies.retry.policy": "Retry RetryBudget",
        "policies.single_flight.policy": "SingleFlight",
        "policies.timeout": "Timeout",
        "policies.validate": "Validate",
        "prefect.flow": "resilient_flow",
        "prefect.task": "outcome_of resilient_task",
        "quarantine.quarantine": "Quarantine",
        "validation.drift": "Drift",
        "validation.report": "Split",
    }.items()
    for name in names.split()
}

if not TYPE_CHECKING:  # which takes the names from the imports above
    __all__ = tuple(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
