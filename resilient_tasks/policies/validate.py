"""Validate: data that does not satisfy its schema is stopped, split off or reported."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from resilient_tasks.core import checks, events, settings
from resilient_tasks.core.errors import InvalidData, PolicyError
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
from resilient_tasks.core.pipeline import Policy, operation_of
from resilient_tasks.data.quarantine import Quarantine
from resilient_tasks.data.schemas import check_schema
from resilient_tasks.data.split import Split, split

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Proceed

OnInvalid = Literal["raise", "quarantine", "drop", "warn"]
OnSchemaError = Literal["raise", "warn"]


@dataclass(frozen=True, eq=False)
class Validate(Policy):
    """Hold data against a pandera schema (pandas or polars), on its way into the function or out of it.

    Rows that do not satisfy the schema are dealt with by `on_invalid`; a frame that as a whole does not (missing
    column, wrong dtype, failed aggregate check) never loses rows: `on_schema_error` says whether it is refused.

    Args:
        input: a schema for each parameter to check, by name; a single schema is for the first parameter.
        output: a schema for the result.
        on_invalid: `"raise"` refuses the batch; `"quarantine"` puts the bad rows into a Parquet file with their
            reasons and goes on with the good ones; `"drop"` goes on without them; `"warn"` goes on with all.
        on_schema_error: `"raise"` refuses a frame that is wrong as a whole; `"warn"` lets it pass unchecked.
        max_invalid: the fraction of bad rows, from 0 to 1, above which the batch is refused all the same. What was
            wrong is quarantined even then.
        min_rows: fewer rows than this are refused.
        quarantine: where bad rows go: a `Quarantine` or a folder. Default: `configure(quarantine=...)`.

    Raises:
        PolicyError: the arguments are contradictory or impossible.

    At run time a refused batch is `InvalidData`, with the report; a quarantine that cannot be written fails the batch
    with the operating system's error: good rows never go on as if nothing had been wrong.
    """

    slot: ClassVar[str] = "validate output"

    input: Any = None
    output: Any = None
    on_invalid: OnInvalid = "raise"
    on_schema_error: OnSchemaError = "raise"
    max_invalid: float | None = None
    min_rows: int | None = None
    quarantine: Quarantine | str | None = None
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
        _one_of(self.on_invalid, OnInvalid, "on_invalid")
        _one_of(self.on_schema_error, OnSchemaError, "on_schema_error")
        if self.max_invalid is not None:
            checks.fraction(self.max_invalid, "Validate(max_invalid=...)")
            if self.on_invalid == "raise":
                msg = "Validate(max_invalid=...) needs on_invalid='quarantine', 'drop' or 'warn': 'raise' allows no row"
                raise PolicyError(msg)
        if self.min_rows is not None and (type(self.min_rows) is not int or self.min_rows < 0):
            msg = f"Validate(min_rows=...) is a number of rows from 0 up, not {self.min_rows!r}"
            raise PolicyError(msg)

    def parts(self) -> tuple[Policy, ...]:
        """Return this policy as one for the way in and one for the way out: they have different places in the order."""
        parts: list[Policy] = []
        if self.input is not None:
            parts.append(_ValidateInput(**{**self._options(), "output": None}))
        if self.output is not None:
            parts.append(replace(self, input=None))
        return tuple(parts)

    def of_stand_in(self) -> Validate:
        """Return this policy for what a fallback gives: its bad rows are kept beside those of the result."""
        return replace(self, _subject="stand-in")

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        if self.input is not None:
            _parameters_of(fn, self.input)

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
        except Exception as error:
            return Failed(error)
        return Degraded(good, outcome.because) if isinstance(outcome, Degraded) else Ok(good, outcome.attempts)

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
        parts = split(frame, schema)
        report = parts.report
        if report.frame_errors:
            problem = f"{call.operation}: {what} as a whole: {'; '.join(report.frame_errors)}"
            if self.on_schema_error == "raise":
                raise InvalidData(problem, report=report)
            call.emit(
                events.RowsInvalid,
                action="frame let pass unchecked",
                rows=report.rows,
                invalid=0,
                reasons=dict.fromkeys(report.frame_errors, report.rows),
            )
            return frame
        if self.min_rows is not None and report.rows < self.min_rows:
            problem = f"{call.operation}: {what} has {report.rows} rows; at least {self.min_rows} were expected"
            raise InvalidData(problem, report=report)
        if report.invalid:
            return self._without_the_bad(call, frame, parts, schema, what)
        if call.attempt > 1 and self.on_invalid == "quarantine":
            self._keep(call, parts, schema, what)  # what an earlier attempt put there is in use now
        return parts.good

    def _without_the_bad(self, call: Call, frame: Any, parts: Split[Any], schema: Any, what: str) -> Any:
        report = parts.report
        refused = self.on_invalid == "raise"
        summary = report.summary()
        if self.max_invalid is not None and report.invalid > self.max_invalid * report.rows:
            refused = True
            summary += f"; more than max_invalid={self.max_invalid:g} allows"
        self._tell(call, parts, schema, what, refused=refused)
        if refused:
            raise InvalidData(f"{call.operation}: {what}: {summary}", report=report)
        return frame if self.on_invalid == "warn" else parts.good

    def _tell(self, call: Call, parts: Split[Any], schema: Any, what: str, *, refused: bool) -> None:
        report = parts.report
        about = {"rows": report.rows, "invalid": report.invalid, "reasons": _by_reason(report.reasons)}
        if self.on_invalid != "quarantine":
            done = {"raise": "refused", "drop": "dropped", "warn": "let pass"}[self.on_invalid]
            call.emit(events.RowsInvalid, action="refused" if refused else done, **about)
            return
        path = self._keep(call, parts, schema, what)
        action = "batch refused, bad rows quarantined" if refused else "quarantined"
        call.emit(events.RowsQuarantined, action=action, path=str(path), **about)

    def _keep(self, call: Call, parts: Split[Any], schema: Any, what: str) -> Path | None:
        place = self.quarantine or settings.current.quarantine
        quarantine = place if isinstance(place, Quarantine) else Quarantine(place)
        # Of one call and one of its frames: a later attempt replaces what an earlier one put there.
        batch = f"{call.work.id}-{what.removeprefix('argument ').strip(chr(39))}"
        context = {**events.run_ids(), "call": call.work.id}
        return quarantine.write(parts, operation=call.operation, batch=batch, schema=schema, context=context)

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


def _one_of(value: object, words: Any, name: str) -> None:
    if value not in get_args(words):
        msg = f"Validate({name}=...) is one of {', '.join(get_args(words))}, not {value!r}"
        raise PolicyError(msg)
