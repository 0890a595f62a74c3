"""Validate: data that does not satisfy its schema is stopped, split off or reported."""

from __future__ import annotations

import inspect
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args, get_origin

from resilient_tasks.core import checks, events, settings
from resilient_tasks.core.arguments import answering
from resilient_tasks.core.errors import DriftDetected, InvalidData, PolicyError
from resilient_tasks.core.failures import about
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
from resilient_tasks.core.pipeline import Policy, operation_of
from resilient_tasks.core.redact import redact
from resilient_tasks.core.wording import number_of, was
from resilient_tasks.data.drift import Drift
from resilient_tasks.data.quarantine import Quarantine
from resilient_tasks.data.replay import commands
from resilient_tasks.data.schemas import check_schema, library
from resilient_tasks.data.split import Report, Split, split

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Proceed, Work

OnInvalid = Literal["raise", "quarantine", "drop", "warn", "branch"]
OnSchemaError = Literal["raise", "warn"]

_DONE = {"raise": "refused", "drop": "dropped", "warn": "let pass", "branch": "split off"}


@answering("Validate(output=Orders), or Validate(input={'orders': Orders}) for an argument", "output", "on_invalid")
@dataclass(frozen=True, eq=False)
class Validate(Policy):
    """Hold data against a schema, on its way into the function or out of it.

    A schema is pandera's, for a pandas or polars frame, or a pydantic model, for a list of JSON records.

    Rows that do not satisfy the schema are dealt with by `on_invalid`; a frame that as a whole does not (missing
    column, wrong dtype, failed aggregate check) never loses rows: `on_schema_error` says whether it is refused.

    Args:
        input: a schema for each parameter to check, by name; a single schema is for the first parameter.
        output: a schema for the result.
        on_invalid: `"raise"` refuses the batch; `"quarantine"` puts the bad rows into a Parquet file with their
            reasons and goes on with the good ones; `"drop"` goes on without them; `"warn"` goes on with all;
            `"branch"` gives the caller both, as a `Split`: the function, which returns a frame or a `Split`, is
            annotated `-> Split[...]` or not at all. For results only, and not beside a fallback.
        on_schema_error: `"raise"` refuses a frame that is wrong as a whole; `"warn"` lets it pass unchecked.
        max_invalid: bad rows above which the batch is refused all the same: a `float` is a fraction from 0.0 to 1.0,
            an `int` a number of rows. What was wrong is quarantined even then.
        min_rows: fewer rows than this, good and bad ones together, are refused.
        quarantine: where bad rows go: a `Quarantine` or a folder. Default: `configure(quarantine=...)`. Given beside
            `"branch"`, bad rows are kept there too.
        drift: the gate that the good rows of a result must pass. On drift `"warn"` emits an event and goes on;
            `"branch"` makes the outcome `Degraded`, with the data, because of `DriftDetected`; `"stop"` fails with it.

    Raises:
        PolicyError: the arguments are contradictory or impossible.

    At run time a refused batch is `InvalidData`, with the report; a quarantine that cannot be written fails the batch
    with the operating system's error: good rows never go on as if nothing had been wrong.
    """

    slot: ClassVar[str] = "validate output"

    _: KW_ONLY
    input: Any = None
    output: Any = None
    on_invalid: OnInvalid = "raise"
    on_schema_error: OnSchemaError = "raise"
    max_invalid: float | None = None
    min_rows: int | None = None
    quarantine: Quarantine | str | PathLike[str] | None = None
    drift: Drift | None = None
    _subject: str = field(default="result", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if self.input is None and self.output is None:
            msg = "Validate checks nothing: give output=Schema, or input={'frame': Schema}"
            raise PolicyError(msg)
        for schema in (*_schemas(self.input), *_schemas(self.output)):
            try:
                check_schema(schema)
            except TypeError as error:
                raise PolicyError(str(error)) from None
        checks.one_of(self.on_invalid, get_args(OnInvalid), "Validate(on_invalid=...)")
        checks.one_of(self.on_schema_error, get_args(OnSchemaError), "Validate(on_schema_error=...)")
        if self.max_invalid is not None:
            checks.share_or_number(self.max_invalid, "Validate(max_invalid=...)")
            if self.on_invalid == "raise":
                others = "'quarantine', 'drop', 'warn' or 'branch'"
                raise PolicyError(f"Validate(max_invalid=...) needs on_invalid={others}: 'raise' allows no row")
        if self.min_rows is not None and (type(self.min_rows) is not int or self.min_rows < 0):
            msg = f"Validate(min_rows=...) is a number of rows from 0 up, not {self.min_rows!r}"
            raise PolicyError(msg)
        if self.quarantine is not None and not isinstance(self.quarantine, Quarantine | str | PathLike):
            raise PolicyError(f"Validate(quarantine=...) is a folder or a Quarantine(...), not {self.quarantine!r}")
        if self.drift is not None and (not isinstance(self.drift, Drift) or library(self.output) in {None, "pydantic"}):
            raise PolicyError("Validate(drift=...) is a Drift, for a result that is a frame: give output=Schema")
        if self.branches and self.input is not None:
            msg = (
                "Validate(on_invalid='branch') is for a result: a function takes a frame, not a Split. Give the input"
                " a Validate of its own, in policies=[...], with another on_invalid"
            )
            raise PolicyError(msg)

    @property
    def branches(self) -> bool:
        """Whether the caller is given a `Split`."""
        return self.on_invalid == "branch"

    @property
    def keeps(self) -> bool:
        """Whether bad rows go into the quarantine."""
        return self.on_invalid == "quarantine" or (self.branches and self.quarantine is not None)

    def parts(self) -> tuple[Policy, ...]:
        """Return this policy as one for the way in and one for the way out: they have different places in the order."""
        parts: list[Policy] = []
        if self.input is not None:
            parts.append(_ValidateInput(**{**self._options(), "output": None}))
        if self.output is not None:
            parts.append(replace(self, input=None))
        return tuple(parts)

    def of_stand_in(self) -> Validate:
        """Return this policy for what a fallback gives: its bad rows are kept apart, and it may be as old as it is."""
        return replace(self, _subject="stand-in", drift=None)

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        if self.input is not None:
            _parameters_of(fn, self.input)
        if self.branches:
            _is_annotated_as_split(fn)

    def describe(self) -> str:
        ways = [way for way, schema in (("input", self.input), ("output", self.output)) if schema is not None]
        return f"validate {' and '.join(ways)}: invalid rows {self.on_invalid}"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        try:
            checked = self._on_the_way_in(call)
        except Exception as error:
            return Failed(error)
        outcome = await proceed(checked)
        if self.output is None or isinstance(outcome, Failed):
            return outcome
        try:
            good = self._judge(call, outcome.value, self.output, self._subject)
            drifted = self._drifted(call, good.good if isinstance(good, Split) else good)
        except Exception as error:
            return Failed(error)
        if isinstance(outcome, Degraded):
            return Degraded(good, outcome.because)
        return Ok(good, outcome.attempts) if drifted is None else Degraded(good, drifted)

    def _on_the_way_in(self, call: Call) -> Call:
        if self.input is None:
            return call
        work = call.work
        bound = inspect.signature(work.fn).bind(*work.args, **work.kwargs)
        for name, schema in _parameters_of(work.fn, self.input).items():
            if name in bound.arguments:  # a default was the author's to check
                bound.arguments[name] = self._judge(call, bound.arguments[name], schema, f"argument {name!r}")
        return call.given(bound.args, bound.kwargs)

    def _judge(self, call: Call, frame: Any, schema: Any, what: str) -> Any:
        """Return the rows to go on with.

        Raises:
            InvalidData: the batch is refused.
        """
        parts = frame if self.branches and isinstance(frame, Split) else split(frame, schema)
        report = parts.report
        if report.frame_errors:
            return self._unchecked(call, frame, parts, what)
        objection = self._objection(report)
        path = self._tell(call, parts, schema, what, refused=bool(objection)) if report.invalid else None
        if objection:
            error = InvalidData(redact(f"{call.operation}: {what}: {objection}"), report=report)
            if path:
                error.add_note(f"the bad rows wait in the quarantine: {commands(path, _batch(call, what))[0]}")
            raise error
        if self.keeps and call.attempt > 1 and not report.invalid:
            self._take_back(call, parts, schema, what)
        return self._good(frame, parts)

    def _good(self, frame: Any, parts: Split[Any]) -> Any:
        """Return what goes on of a batch that was accepted."""
        if self.branches:
            return parts
        return frame if parts.report.invalid and self.on_invalid == "warn" else parts.good

    def _drifted(self, call: Call, good: Any) -> DriftDetected | None:
        """Return the drift that degrades the result, if any does.

        Raises:
            DriftDetected: the gate stops the call.
        """
        if self.drift is None:
            return None
        report = self.drift.judge(good, self.output)
        if not report.noted:
            return None
        summary, columns = report.summary(), {column.column: column.sentence for column in report.noted}
        call.emit(events.DataDrifted, action=report.action, rows=report.rows, columns=columns, message=summary)
        drifted = DriftDetected(f"{call.operation}: {self._subject}: {summary}", report=report)
        if report.action == "stop":
            raise drifted
        if report.action != "branch":
            return None
        call.emit(events.FallbackUsed, fallback="the result as it is", **about(drifted))
        return drifted

    def _unchecked(self, call: Call, frame: Any, parts: Split[Any], what: str) -> Any:
        report = parts.report
        if self.on_schema_error == "raise":
            problem = redact(f"{call.operation}: {what} as a whole: {'; '.join(report.frame_errors)}")
            raise InvalidData(problem, report=report)
        reasons = dict.fromkeys(report.frame_errors, report.rows)
        call.emit(events.RowsInvalid, action="frame let pass unchecked", rows=report.rows, invalid=0, reasons=reasons)
        return parts if self.branches else frame

    def _objection(self, report: Report) -> str:
        """Say why the batch is refused; nothing, if it is not."""
        if self.min_rows is not None and report.rows < self.min_rows:
            return f"{number_of(report.rows, 'row')}; at least {self.min_rows:,} {was(self.min_rows)} expected"
        if report.invalid and self.on_invalid == "raise":
            return report.summary()
        allowed = self.max_invalid
        if allowed is not None and report.invalid > (allowed if isinstance(allowed, int) else allowed * report.rows):
            return f"{report.summary()}; more than max_invalid={allowed} allows"
        return ""

    def _tell(self, call: Call, parts: Split[Any], schema: Any, what: str, *, refused: bool) -> str | None:
        """Emit what is wrong; return the file in the quarantine, if the bad rows are kept."""
        report = parts.report
        about = {"rows": report.rows, "invalid": report.invalid, "reasons": _by_reason(report.reasons)}
        if not self.keeps:
            call.emit(events.RowsInvalid, action="refused" if refused else _DONE[self.on_invalid], **about)
            return None
        path = str(self._keep(call, parts, schema, what))
        action = "batch refused, bad rows quarantined" if refused else "quarantined"
        self._tell_of_quarantine(call, schema, what, action=action, path=path, **about)
        return path

    def _take_back(self, call: Call, parts: Split[Any], schema: Any, what: str) -> None:
        """Empty the quarantine of what an earlier attempt put there: the data that this one got is good."""
        path = self._keep(call, parts, schema, what)
        if path is not None:
            about = {"rows": parts.report.rows, "invalid": 0, "reasons": {}}
            self._tell_of_quarantine(call, schema, what, action="taken out of quarantine", path=str(path), **about)

    def _tell_of_quarantine(self, call: Call, schema: Any, what: str, **about: Any) -> None:
        where = _importable(schema, call.work.fn)
        call.emit(events.RowsQuarantined, batch=_batch(call, what), schema=where, **about)

    def _keep(self, call: Call, parts: Split[Any], schema: Any, what: str) -> Any:
        place = self.quarantine or settings.current.quarantine
        quarantine = place if isinstance(place, Quarantine) else Quarantine(place)
        context = {**events.run_ids(), "call": call.work.id, "source": _source(call.work, what)}
        return quarantine.write(
            parts, operation=call.operation, batch=_batch(call, what), schema=schema, context=context
        )

    def _options(self) -> dict[str, Any]:
        names = ("input", "output", "on_invalid", "on_schema_error", "max_invalid", "min_rows", "quarantine")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class _ValidateInput(Validate):
    slot: ClassVar[str] = "validate input"


def _schemas(given: Any) -> tuple[Any, ...]:
    if given is None:
        return ()
    return tuple(given.values()) if isinstance(given, Mapping) else (given,)


def _parameters_of(fn: Callable[..., Any], given: Any) -> Mapping[str, Any]:
    names = [name for name in inspect.signature(fn).parameters if name not in {"self", "cls"}]
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown:
            msg = f"Validate(input=...) names {unknown}, but {operation_of(fn)} has the parameters {names}"
            raise PolicyError(msg)
        return given
    if not names:
        msg = f"Validate(input=...) is for the first parameter, and {operation_of(fn)} has none"
        raise PolicyError(msg)
    return {names[0]: given}


def _by_reason(reasons: Mapping[tuple[str, str], int]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for (column, check), rows in reasons.items():
        counts[f"{column}: {check}"] += rows
    return dict(counts)


def _batch(call: Call, what: str) -> str:
    """Name what is kept of one call and one of its frames: a later attempt replaces what an earlier one put there."""
    return f"{call.work.id}-{what.removeprefix('argument ').strip(chr(39))}"


def _source(work: Work, what: str) -> str:
    """Say which data it is, of which call: the names of its arguments, never their values."""
    try:
        names = ", ".join(inspect.signature(work.fn).bind(*work.args, **work.kwargs).arguments)
    except (TypeError, ValueError):  # some callables written in C have no signature
        names = "…"
    return f"{what} of {work.operation}({names})"


def _importable(schema: Any, fn: Callable[..., Any]) -> str:
    """Return `module:name` by which the schema can be imported as the function's own module knows it, or nothing."""
    names = getattr(inspect.unwrap(fn), "__globals__", {})
    module = names.get("__name__", "__main__")
    found = [name for name, value in list(names.items()) if value is schema]
    return f"{module}:{found[0]}" if found and module != "__main__" else ""


def _is_annotated_as_split(fn: Callable[..., Any]) -> None:
    try:
        given = inspect.get_annotations(fn, eval_str=True).get("return", Split)
    except Exception:  # names that only type checkers know, or something that has no annotations
        given = getattr(fn, "__annotations__", {}).get("return", Split)
    text = given if isinstance(given, str) else inspect.formatannotation(given)
    meant: object = get_origin(given) or given
    if meant is not Split and not (meant is text and re.match(r"(\w+\.)*Split\b", text)):
        msg = (
            f"{operation_of(fn)} is annotated to return {text}, and with on_invalid='branch' its caller gets a Split:"
            " annotate it -> Split[...]"
        )
        raise PolicyError(msg)
