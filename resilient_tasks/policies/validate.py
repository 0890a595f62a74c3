"""Validate: refuse, split off or report data that does not satisfy its schema."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

from resilient_tasks.core import events, settings
from resilient_tasks.core.errors import DriftDetected, InvalidData, PolicyError
from resilient_tasks.core.failures import about
from resilient_tasks.core.keys import keys
from resilient_tasks.core.keys.keys import Keyed
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
from resilient_tasks.core.parameters import checks
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.parameters.signatures import signature_of
from resilient_tasks.core.pipeline import Policy, operation_of
from resilient_tasks.core.wording import number_of, was
from resilient_tasks.quarantine.quarantine import Quarantine, StorageBlock
from resilient_tasks.quarantine.replay import commands
from resilient_tasks.redaction.text import redact
from resilient_tasks.validation.call import check_annotation, schema_name, source
from resilient_tasks.validation.containers import (
    Accepted,
    Location,
    Part,
    check_schemas,
    combined_error,
    is_container,
    portable_parts,
    repack,
    schemas_by_name,
    unpack,
)
from resilient_tasks.validation.drift import Drift
from resilient_tasks.validation.limits import check_limits, exceeded
from resilient_tasks.validation.report import Report, Split
from resilient_tasks.validation.schemas import library
from resilient_tasks.validation.split import split

if TYPE_CHECKING:
    from resilient_tasks.core.bounds import Bound
    from resilient_tasks.core.call import Call, Proceed

OnInvalid = Literal["raise", "quarantine", "drop", "warn", "branch"]
OnSchemaError = Literal["raise", "warn"]

_DONE = {"raise": "refused", "drop": "dropped", "warn": "let pass", "branch": "split off"}


@answering("Validate(output=Orders), or Validate(input={'orders': Orders}) for an argument", "output", "on_invalid")
@dataclass(frozen=True, eq=False)
class Validate(Policy):
    """Check the arguments or the result of a function against a schema.

    A schema is pandera's, for a pandas or polars frame, or a pydantic model, for a list of JSON records.

    `on_invalid` handles rows that do not satisfy the schema. If the frame as a whole does not (missing column, wrong
    dtype, failed aggregate check), no row is dropped: `on_schema_error` decides whether the frame is refused.

    For a dict, a named tuple, a dataclass, a tuple or a list of frames, give a mapping or a tuple of schemas. None
    leaves a part unchecked. Each part is split, counted and quarantined separately; all are judged before any is
    refused.

    Args:
        input: a schema for each parameter to check, by name; a single schema is for the first parameter.
        output: a schema for the result; for several frames, their schemas: `{"train": Flights, "test": Flights}`.
        on_invalid: `"raise"` refuses the batch; `"quarantine"` writes the bad rows to a Parquet file with their
            reasons and continues with the good ones; `"drop"` continues without them; `"warn"` continues with all;
            `"branch"` gives the caller both, as a `Split`: annotate the function, which returns a frame or a `Split`,
            `-> Split[...]` or not at all. For results only, and not together with a fallback.
        on_schema_error: `"raise"` refuses a frame that is wrong as a whole; `"warn"` passes it on unchecked.
        max_invalid: with more bad rows than this, the batch is refused: a `float` is a fraction from 0.0 to 1.0, an
            `int` a number of rows. Bad rows of a refused batch are quarantined too. A mapping sets limits by column,
            by check or by both: `{"distance": 0.01, ("tail", "is null"): 5, "*": 0.05}`; `"*"` is for all bad rows.
        min_rows: with fewer rows than this, the batch is refused; good and bad rows count.
        quarantine: where bad rows go: a `Quarantine`, or what it takes: a folder, a URL, a storage block. Default:
            `configure(quarantine=...)`. With `"branch"`, bad rows are kept there too.
        batch: returns the name of a call's batch in the quarantine: a function of the call's arguments, such as `lambda
            hour: hour`. A later call with the same name replaces the batch, so that the bad rows of an hour that is
            read again are not there twice. Calls with different rows need different names. Default: a batch for each
            call.
        drift: the gate that the good rows of a result must pass; for several frames, a mapping by their names. On
            drift, `"warn"` emits an event and continues; `"branch"` makes the outcome `Degraded`, with the data,
            because of `DriftDetected`; `"stop"` fails with it.

    Raises:
        PolicyError: the arguments are contradictory or impossible.

    At run time a refused batch raises `InvalidData`, with the report. If the quarantine cannot be written, the batch
    fails with a `QuarantineError`; its good rows are not passed on.
    """

    slot: ClassVar[str] = "validate output"

    _: KW_ONLY
    input: Any = None
    output: Any = None
    on_invalid: OnInvalid = "raise"
    on_schema_error: OnSchemaError = "raise"
    max_invalid: float | Mapping[Any, float] | None = None
    min_rows: int | None = None
    quarantine: Quarantine | str | PathLike[str] | StorageBlock | None = None
    batch: Callable[..., Any] | None = None
    drift: Drift | Mapping[str, Drift] | None = None
    _subject: str = field(default="result", kw_only=True, repr=False)

    def __post_init__(self) -> None:
        if self.input is None and self.output is None:
            msg = "Validate checks nothing: give output=Schema, or input={'frame': Schema}"
            raise PolicyError(msg)
        for schemas in self._given():
            try:
                check_schemas(schemas)
            except TypeError as error:
                raise PolicyError(str(error)) from error.__cause__
        checks.one_of(self.on_invalid, get_args(OnInvalid), "Validate(on_invalid=...)")
        checks.one_of(self.on_schema_error, get_args(OnSchemaError), "Validate(on_schema_error=...)")
        if self.max_invalid is not None:
            schemas = [schema for given in self._given() for schema in schemas_by_name(given).values()]
            check_limits(self.max_invalid, schemas, "Validate(max_invalid=...)")
            if self.on_invalid == "raise":
                others = "'quarantine', 'drop', 'warn' or 'branch'"
                raise PolicyError(f"Validate(max_invalid=...) needs on_invalid={others}: 'raise' allows no row")
        if self.min_rows is not None and (type(self.min_rows) is not int or self.min_rows < 0):
            msg = f"Validate(min_rows=...) is a number of rows from 0 up, not {self.min_rows!r}"
            raise PolicyError(msg)
        if self.quarantine is not None and not isinstance(self.quarantine, Quarantine):
            _check_quarantine(self.quarantine)
        _check_batch(self)
        if self.drift is not None:
            _check_drift(self.drift, self.output)
        if self.branches and self.input is not None:
            msg = (
                "Validate(on_invalid='branch') is for a result: a function takes a frame, not a Split. Give the input"
                " a Validate of its own, in policies=[...], with another on_invalid"
            )
            raise PolicyError(msg)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "input": portable_parts(self.input), "output": portable_parts(self.output)}

    def __copy__(self) -> Validate:
        return self

    def __deepcopy__(self, memo: object) -> Validate:
        return self

    @property
    def branches(self) -> bool:
        """Whether the caller gets a `Split`."""
        return self.on_invalid == "branch"

    @property
    def keeps(self) -> bool:
        """Whether bad rows go into the quarantine."""
        return self.on_invalid == "quarantine" or (self.branches and self.quarantine is not None)

    def parts(self) -> tuple[Policy, ...]:
        """Return this policy split into one for arguments and one for results, which have different positions."""
        parts: list[Policy] = []
        if self.input is not None:
            parts.append(self._but(_ValidateInput, output=None, drift=None))
        if self.output is not None:
            parts.append(self._but(input=None))
        return tuple(parts)

    def of_stand_in(self) -> Validate:
        """Return this policy for a fallback's result: its bad rows have their own batch, and drift is not checked."""
        return self._but(_subject="stand-in", drift=None)

    def for_call(self, call: Call) -> Validate:
        """Return this policy with the name of the call's batch."""
        return self._but(batch=_Batch(self.batch).for_call(call).name)

    def _but(self, kind: type[Validate] | None = None, **changes: Any) -> Validate:
        """Return a changed copy, without checking the arguments again."""
        made = object.__new__(kind or type(self))
        vars(made).update(vars(self), **changes)
        return made

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        if self.input is not None:
            _parameters_of(fn, self.input)
        if callable(self.batch):
            _Batch(self.batch).check_key(fn)
        if self.branches:
            check_annotation(fn, several=is_container(self.output))

    def longest(self, inner: Bound) -> Bound:
        return inner

    def describe(self) -> str:
        ways = [way for way, schema in (("input", self.input), ("output", self.output)) if schema is not None]
        names = f" of {', '.join(schemas_by_name(self.output))}" if is_container(self.output) else ""
        return f"validate {' and '.join(ways)}{names}: on_invalid={self.on_invalid!r}"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if callable(self.batch):
            return await keys.around(self, call, proceed)
        try:
            checked = self._check_input(call)
        except Exception as error:
            return Failed(error)
        outcome = await proceed(checked)
        if self.output is None or isinstance(outcome, Failed):
            return outcome
        try:
            value, found = self._judge(call, outcome.value, self.output, Location(self._subject))
            drifted = self._drifted(call, found)
        except Exception as error:
            return Failed(error)
        if isinstance(outcome, Degraded):
            return Degraded(value, outcome.because)
        return Ok(value, outcome.attempts) if drifted is None else Degraded(value, drifted)

    def _given(self) -> list[Any]:
        """Return the schema of each argument and of the result, or the schemas of its parts."""
        given = [*self.input.values()] if isinstance(self.input, Mapping) else [self.input]
        return [schemas for schemas in (*given, self.output) if schemas is not None]

    def _check_input(self, call: Call) -> Call:
        if self.input is None:
            return call
        work = call.work
        bound = _signature_of(work.fn).bind(*work.args, **work.kwargs)
        for name, schemas in _parameters_of(work.fn, self.input).items():
            if name in bound.arguments and schemas is not None:  # a default is not checked
                bound.arguments[name], _ = self._judge(
                    call, bound.arguments[name], schemas, Location(name, is_argument=True)
                )
        return call.changed(args=bound.args, kwargs=bound.kwargs)

    def _judge(self, call: Call, value: Any, schemas: Any, whole: Location) -> tuple[Any, list[Accepted]]:
        """Return the accepted value, and its parts that have a schema.

        Raises:
            InvalidData: the batch, or a part of it, is refused, after all parts were judged.
        """
        if not is_container(schemas):
            given, report = self._judge_part(call, Part(None, whole, value, schemas))
            judged = [Accepted(None, whole, given, report)]
        else:
            judged = self._judge_parts(call, value, schemas, whole)
            given = repack(value, {part.key: part.given for part in judged})
        for part in judged:
            if part.report.warned:
                reasons, rows = _by_reason(part.report.warned), part.report.rows
                call.emit(events.RowsWarned, rows=rows, reasons=reasons, part=part.location.part)
        return given, judged

    def _judge_parts(self, call: Call, value: Any, schemas: Any, whole: Location) -> list[Accepted]:
        parts, problem = unpack(value, schemas, whole)
        judged, errors = [], []
        for part in parts:
            try:
                judged.append(Accepted(part.key, part.location, *self._judge_part(call, part)))
            except Exception as error:
                errors.append((part.location, error))
        if problem:
            errors.append((whole, InvalidData(redact(f"{call.operation}: {whole.title}: {problem}"))))
        if errors:
            raise combined_error(call.operation, errors)
        return judged

    def _judge_part(self, call: Call, part: Part) -> tuple[Any, Report]:
        frame, schema, what = part.frame, part.schema, part.location
        parts = frame if self.branches and isinstance(frame, Split) else split(frame, schema)
        report = parts.report
        if report.frame_errors:
            return self._unchecked(call, frame, parts, what), report
        objection = self._objection(report, schema)
        path = self._report_invalid(call, parts, schema, what, refused=bool(objection)) if report.invalid else None
        if objection:
            error = InvalidData(redact(f"{call.operation}: {what.title}: {objection}"), report=report)
            if path:
                error.add_note(f"the bad rows wait in the quarantine: {commands(path, self._batch_of(call, what))[0]}")
            raise error
        if self.keeps and not report.invalid and (call.attempt > 1 or self.batch is not None):
            self._clear_earlier(call, parts, schema, what)
        return self._good(frame, parts), report

    def _good(self, frame: Any, parts: Split[Any]) -> Any:
        """Return the data to pass on from an accepted batch."""
        if self.branches:
            return parts
        return frame if parts.report.invalid and self.on_invalid == "warn" else parts.good

    def _drifted(self, call: Call, judged: Iterable[Accepted]) -> DriftDetected | None:
        """Return the drift that degrades the result; None if none does.

        Raises:
            DriftDetected: the gate stops the call, after all parts were judged.
        """
        if self.drift is None:
            return None
        gates: Mapping[str, Any] = self.drift if isinstance(self.drift, Mapping) else {"": self.drift}
        schemas = schemas_by_name(self.output)
        named = [(part.location.name or "", part) for part in judged]
        found = [self._drift_of(call, gates[name], part, schemas[name]) for name, part in named if name in gates]
        drifts = [drift for drift in found if drift is not None]
        for drift in drifts:
            if drift.report.action == "stop":  # type: ignore[attr-defined]  # a gate's error has a report
                raise drift
        if not drifts:
            return None
        call.emit(events.FallbackUsed, fallback="the result as it is", seconds=call.lasted(), **about(drifts[0]))
        return drifts[0]

    def _drift_of(self, call: Call, gate: Drift, part: Accepted, schema: Any) -> DriftDetected | None:
        """Emit what a gate found in one frame; return it if the gate stops or degrades the call."""
        report = gate.judge(part.given.good if isinstance(part.given, Split) else part.given, schema)
        if not report.noted:
            return None
        columns = {column.column: column.sentence for column in report.noted}
        what, summary = part.location, report.summary()
        fields = {"action": report.action, "rows": report.rows, "columns": columns, "message": summary}
        call.emit(events.DataDrifted, part=what.part, **fields)
        drifted = DriftDetected(f"{call.operation}: {what.title}: {summary}", report=report)
        return drifted if report.action in {"stop", "branch"} else None

    def _unchecked(self, call: Call, frame: Any, parts: Split[Any], what: Location) -> Any:
        report = parts.report
        if self.on_schema_error == "raise":
            problem = redact(f"{call.operation}: {what.title} as a whole: {'; '.join(report.frame_errors)}")
            raise InvalidData(problem, report=report)
        fields = {"rows": report.rows, "invalid": 0, "reasons": dict.fromkeys(report.frame_errors, report.rows)}
        call.emit(events.RowsInvalid, action="frame let pass unchecked", part=what.part, **fields)
        return parts if self.branches else frame

    def _objection(self, report: Report, schema: Any) -> str:
        """Return why the batch is refused; empty if it is not."""
        if self.min_rows is not None and report.rows < self.min_rows:
            return f"{number_of(report.rows, 'row')}; at least {self.min_rows:,} {was(self.min_rows)} expected"
        if report.invalid and self.on_invalid == "raise":
            return report.summary()
        too_many = exceeded(self.max_invalid, report, schema) if self.max_invalid is not None and report.invalid else ""
        return f"{report.summary()}; {too_many}" if too_many else ""

    def _report_invalid(
        self, call: Call, parts: Split[Any], schema: Any, what: Location, *, refused: bool
    ) -> str | None:
        """Emit an event about the bad rows; return their file in the quarantine, if they are kept."""
        report = parts.report
        about = {"rows": report.rows, "invalid": report.invalid, "reasons": _by_reason(report.reasons)}
        if not self.keeps:
            action = "refused" if refused else _DONE[self.on_invalid]
            call.emit(events.RowsInvalid, action=action, part=what.part, **about)
            return None
        path = str(self._keep(call, parts, schema, what))
        action = "batch refused, bad rows quarantined" if refused else "quarantined"
        self._emit_quarantined(call, schema, what, action=action, path=path, **about)
        return path

    def _clear_earlier(self, call: Call, parts: Split[Any], schema: Any, what: Location) -> None:
        """Remove the batch of an earlier attempt, or of an earlier call with its name, as this data is good."""
        path = self._keep(call, parts, schema, what)
        if path is not None:
            about = {"rows": parts.report.rows, "invalid": 0, "reasons": {}}
            self._emit_quarantined(call, schema, what, action="taken out of quarantine", path=str(path), **about)

    def _emit_quarantined(self, call: Call, schema: Any, what: Location, **about: Any) -> None:
        where = schema_name(schema, call.work.fn)
        call.emit(events.RowsQuarantined, batch=self._batch_of(call, what), schema=where, part=what.part, **about)

    def _keep(self, call: Call, parts: Split[Any], schema: Any, what: Location) -> Any:
        place = self.quarantine or settings.current.quarantine
        quarantine = place if isinstance(place, Quarantine) else Quarantine(place)
        context = {**events.run_ids(), "call": call.work.id, "source": source(call.work, what.title)}
        return quarantine.write(
            parts, operation=call.operation, batch=self._batch_of(call, what), schema=schema, context=context
        )

    def _batch_of(self, call: Call, what: Location) -> str:
        return what.batch(call.work.id if self.batch is None else str(self.batch))


@dataclass(frozen=True, eq=False)
class _ValidateInput(Validate):
    slot: ClassVar[str] = "validate input"


def _check_quarantine(place: Any) -> None:
    try:
        Quarantine(place)
    except ValueError as error:
        raise PolicyError(f"Validate(quarantine=...): {error}") from None


@dataclass(frozen=True, eq=False)
class _Batch(Keyed):
    """The name of a call's batch."""

    name: Any

    @property
    def _where(self) -> str:
        return "Validate(batch=...)"


def _check_batch(policy: Validate) -> None:
    if policy.batch is None:
        return
    if not callable(policy.batch):
        why = "with one name for all, each call would replace the rows of the previous one"
        raise PolicyError(f"Validate(batch=...) is a function of the call's arguments, not {policy.batch!r}: {why}")
    _Batch(policy.batch).settle_name()
    if not policy.keeps:
        msg = "Validate(batch=...) names batches in the quarantine: give on_invalid='quarantine' too"
        raise PolicyError(msg)


def _check_drift(drift: Any, output: Any) -> None:
    schemas = schemas_by_name(output)
    gates: Mapping[Any, Any] = drift if isinstance(drift, Mapping) else dict.fromkeys(schemas, drift)
    frames = [name for name, schema in schemas.items() if library(schema) != "pydantic"]
    if is_container(output) and not isinstance(drift, Mapping):
        names = ", ".join(f"{name!r}: Drift(...)" for name in frames)
        raise PolicyError(f"Validate(drift=...) of a result with several frames is a mapping by name: {{{names}}}")
    if not gates or not gates.keys() <= {*frames} or not all(isinstance(gate, Drift) for gate in gates.values()):
        names = f"; its frames are {frames}" if is_container(output) else ""
        msg = f"Validate(drift=...) is a Drift, for a result that is a frame: give output=Schema{names}"
        raise PolicyError(msg)


def _signature_of(fn: Callable[..., Any]) -> inspect.Signature:
    if (signature := signature_of(fn)) is None:
        msg = f"Validate(input=...): {operation_of(fn)} has no signature: decorate a def that calls it"
        raise PolicyError(msg)
    return signature


def _parameters_of(fn: Callable[..., Any], given: Any) -> Mapping[str, Any]:
    names = [name for name in _signature_of(fn).parameters if name not in {"self", "cls"}]
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown:
            msg = f"Validate(input=...) names {unknown}, but {operation_of(fn)} has the parameters {names}"
            raise PolicyError(msg)
        return given
    if isinstance(given, tuple | list):
        written = ", ".join(f"{name!r}: ..." for name in names[: len(given)])
        msg = f"Validate(input=...) takes the schemas of several parameters by name: {{{written}}}"
        raise PolicyError(msg)
    if not names:
        msg = f"Validate(input=...) is for the first parameter, and {operation_of(fn)} has none"
        raise PolicyError(msg)
    return {names[0]: given}


def _by_reason(reasons: Mapping[tuple[str, str], int]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for (column, check), rows in reasons.items():
        counts[f"{column}: {check}"] += rows
    return dict(counts)
