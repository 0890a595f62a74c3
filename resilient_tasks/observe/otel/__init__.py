"""OpenTelemetry: a span for each attempt, a span event for each policy event, and metrics.

`install()` switches it on in this process. In child processes and workers, the variable `RESILIENT_TASKS_OTEL` does:
`1`, or `module:function` to call first, which sets up the SDK there. The extra `otel` installs what this needs.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from resilient_tasks.core import observing
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import bus

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from resilient_tasks.observe.otel.spans import Spans

__all__ = ["VARIABLE", "install", "install_if_wanted"]

#: In the environment: whether each process installs it, and what to call before.
VARIABLE = "RESILIENT_TASKS_OTEL"
_OFF, _ON = ("", "0", "false", "no", "off"), ("1", "true", "yes", "on")

_installed: _Installed | None = None
#: The value of the variable that was followed last.
_followed = ""


class _Installed:
    def __init__(
        self, spans: Spans, unsubscribe: Callable[[], None], given: tuple[TracerProvider | None, MeterProvider | None]
    ) -> None:
        self.given = given
        self._spans, self._unsubscribe = spans, unsubscribe

    def uninstall(self) -> None:
        global _installed  # noqa: PLW0603  # one a process
        if _installed is self:
            self._unsubscribe()
            observing.uninstall()
            self._spans.close()
            _installed = None


def install(
    tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Callable[[], None]:
    """Record spans and metrics of every resilient call in this process, and return a function that ends that.

    Calling it again changes nothing.

    Args:
        tracer_provider: of the spans; by default the global one, even if that is set later.
        meter_provider: of the metrics; by default the global one, even if that is set later.

    Raises:
        ModuleNotFoundError: OpenTelemetry is not installed.
        PolicyError: it is installed with another provider already.
    """
    global _installed  # noqa: PLW0603  # one a process
    given = (tracer_provider, meter_provider)
    if _installed is not None:
        asked = zip(given, _installed.given, strict=True)
        if any(new is not None and new is not old for new, old in asked):
            msg = "OpenTelemetry is installed with another provider: call what the first install() returned, then this"
            raise PolicyError(msg)
        return _installed.uninstall
    try:
        from resilient_tasks.observe.otel.metrics import Metrics  # noqa: PLC0415  # imports OpenTelemetry
        from resilient_tasks.observe.otel.spans import Spans  # noqa: PLC0415  # as above
    except ModuleNotFoundError as error:
        if not str(error.name).startswith("opentelemetry"):
            raise
        msg = "observe.otel needs OpenTelemetry: pip install 'resilient-tasks[otel]'"
        raise ModuleNotFoundError(msg, name=error.name) from error
    spans = Spans(tracer_provider, Metrics(meter_provider))
    _installed = _Installed(spans, bus.subscribe(spans.on_event, name="opentelemetry"), given)
    observing.install(spans)
    return _installed.uninstall


def install_if_wanted() -> None:
    """Install it if the environment says so. Cheap: called by each decorator, and by each unpickled task.

    Raises:
        PolicyError: the variable has a value that means nothing, or names a function that cannot be found.
        ModuleNotFoundError: OpenTelemetry is not installed.
    """
    global _followed  # noqa: PLW0603  # once a process and value
    wanted = os.environ.get(VARIABLE, "").strip()
    if wanted == _followed:
        return
    _followed = wanted  # before the function is called: its module may define resilient functions
    if wanted.lower() in _OFF:
        return
    if wanted.lower() not in _ON:
        _function(wanted)()
    install()


def _function(name: str) -> Callable[[], object]:
    """Return the function that `module:function` names."""
    advice = f"{VARIABLE} is 1, 0, or a function to call first, such as my_package.telemetry:set_up; it is {name!r}"
    if ":" not in name:
        raise PolicyError(advice)
    import pkgutil  # noqa: PLC0415  # only needed here

    try:
        found: Callable[[], object] = pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        msg = f"{advice}, which cannot be found: {error}"
        raise PolicyError(msg) from error
    if not callable(found):
        raise PolicyError(f"{advice}, which is no function")
    return found
