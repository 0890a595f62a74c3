"""Count events in Prometheus metrics.

from prometheus_client import start_http_server
from resilient_tasks.observe import prometheus

prometheus.install()
start_http_server(9000, registry=prometheus.registry())

Several processes add up if they share a folder, `PROMETHEUS_MULTIPROC_DIR`, as `prometheus_client` documents.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from resilient_tasks.core import settings
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import Event, bus
from resilient_tasks.observe.measures import Measurement, Measures, wants
from resilient_tasks.observe.metrics import METRICS, PREFIX, STATES, Metric
from resilient_tasks.state.listed import LISTED

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
#: The metric that is read from the store when it is scraped; several processes measure it by events.
_CIRCUITS = METRICS["breaker_circuits"]


def install(registry: CollectorRegistry | None = None) -> Callable[[], None]:
    """Count the events of this process in metrics, and return a function that ends that.

    Calling it again with the same registry changes nothing. With the default registry, the environment variable
    `RESILIENT_TASKS_PROMETHEUS` is set, so that processes started later count theirs too.

    Args:
        registry: where the metrics are registered; default: the one of `prometheus_client`.

    Raises:
        PolicyError: `prometheus_client` is not installed, or `PROMETHEUS_MULTIPROC_DIR` names no folder or was set too
            late.
    """
    client = _client()
    into = client.REGISTRY if registry is None else registry
    with _installing:
        if (there := _installed.get(id(into))) is not None:
            return there.uninstall
        made = _installed[id(into)] = PrometheusSink(client, into)
    made.subscribe()
    if registry is None:
        settings.configure(prometheus=True)
    return made.uninstall


def install_if_set() -> None:
    """Install the sink if the setting `prometheus` says so. Cheap to call again."""
    if settings.current.prometheus and not _installed:
        install()


def registry() -> CollectorRegistry:
    """Return the registry to expose: of all processes, if `PROMETHEUS_MULTIPROC_DIR` is set.

    Raises:
        PolicyError: `prometheus_client` is not installed, or `PROMETHEUS_MULTIPROC_DIR` names no folder.
    """
    client = _client()
    if not _is_shared():
        default: CollectorRegistry = client.REGISTRY
        return default
    from prometheus_client import multiprocess  # noqa: PLC0415  # an extra

    found: CollectorRegistry = client.CollectorRegistry()
    multiprocess.MultiProcessCollector(found)  # type: ignore[no-untyped-call]  # it has no annotations
    return found


class PrometheusSink:
    """Counts events in the metrics of one registry."""

    def __init__(self, client: Any, into: CollectorRegistry) -> None:
        self._into = into
        shared = _is_shared()
        self._measures = Measures(counts_circuits=shared)
        self._metrics: dict[str, Any] = {}
        self._unsubscribe: Callable[[], None] = lambda: None
        self._circuits: Circuits | None = None if shared else Circuits(self._measures, self._count_losses)
        try:
            if self._circuits is not None:
                into.register(self._circuits)  # collected first
            for metric in METRICS.values():
                if shared or metric is not _CIRCUITS:
                    self._metrics[metric.name] = _made(client, metric, into)
        except BaseException:
            self._unregister()
            raise

    def subscribe(self) -> None:
        """Start counting."""
        self._unsubscribe = bus.subscribe(self, wants, name="prometheus")

    def __call__(self, event: Event) -> None:
        """Count an event."""
        with _updating:
            for measured in self._measures.of(event):
                self._count(measured)

    def uninstall(self) -> None:
        """Stop counting, and remove the metrics from the registry."""
        self._unsubscribe()
        with _installing:
            if _installed.get(id(self._into)) is self:
                del _installed[id(self._into)]
                self._unregister()

    def _count_losses(self) -> None:
        with _updating:
            for measured in self._measures.losses():
                self._count(measured)

    def _count(self, measured: Measurement) -> None:
        metric = self._metrics[measured.name]
        child = metric.labels(*measured.labels) if measured.labels else metric
        match METRICS[measured.name].kind:
            case "counter":
                child.inc(measured.value)
            case "gauge":
                child.set(measured.value)
            case _:
                child.observe(measured.value)

    def _unregister(self) -> None:
        for collector in (*self._metrics.values(), self._circuits):
            if collector is not None:
                try:
                    self._into.unregister(collector)
                except KeyError:  # it was not registered, or the user has done this
                    continue


class Circuits:
    """Collects the states of circuits from the store whenever metrics are scraped: other processes change them, too.

    Args:
        measures: bounds the names.
        before: called first.
    """

    def __init__(self, measures: Measures, before: Callable[[], None]) -> None:
        self._measures = measures
        self._before = before

    def describe(self) -> Iterator[Any]:
        """Yield the metric without values: registering does not read the store."""
        yield self._family()

    def collect(self) -> Iterator[Any]:
        """Yield the number of circuits in each state, by breaker. Nothing, if the store does not answer."""
        self._before()
        try:
            found = LISTED["breaker"]() if "breaker" in LISTED else ()
        except Exception:  # the other metrics are to be scraped all the same
            found = ()
        counts = Counter((self._measures.label("breaker", name), state) for name, state in found)
        family = self._family()
        for breaker in sorted({name for name, _ in counts}):
            for state in STATES:
                family.add_metric([breaker, state], counts[breaker, state])
        yield family

    def _family(self) -> Any:
        from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415  # an extra

        return GaugeMetricFamily(PREFIX + _CIRCUITS.name, _CIRCUITS.help, labels=_CIRCUITS.labels)


def _made(client: Any, metric: Metric, into: CollectorRegistry) -> Any:
    """Return a metric of `prometheus_client`."""
    about = (PREFIX + metric.name, metric.help, metric.labels)
    match metric.kind:
        case "counter":
            return client.Counter(*about, registry=into)
        case "gauge":
            return client.Gauge(*about, registry=into, multiprocess_mode=metric.several)
        case _:
            return client.Histogram(*about, registry=into, buckets=metric.buckets)


def _client() -> Any:
    if _is_shared() and not os.path.isdir(os.environ[_FOLDER]):  # noqa: PTH112  # pathlib takes longer to import
        msg = f"{_FOLDER} names no folder: create {os.environ[_FOLDER]!r}, empty, before the first process starts"
        raise PolicyError(msg)
    try:
        import prometheus_client  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        msg = "Prometheus metrics need prometheus_client: pip install 'resilient-tasks[prometheus]'"
        raise PolicyError(msg) from None
    if _is_shared() and not getattr(prometheus_client.values.ValueClass, "_multiprocess", False):
        msg = f"prometheus_client was imported before {_FOLDER} was set, so it ignores it: set it before Python starts"
        raise PolicyError(msg)
    return prometheus_client


def _is_shared() -> bool:
    return bool(os.environ.get(_FOLDER))


_installing = threading.RLock()
#: By the registry's id; the sink holds the registry.
_installed: dict[int, PrometheusSink] = {}
#: Held while metrics change, and by a thread that forks: otherwise, a lock in `prometheus_client` that another thread
#: holds at that moment would stay locked in the child for ever.
_updating = threading.RLock()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_updating.acquire, after_in_parent=_updating.release, after_in_child=_updating.release)
