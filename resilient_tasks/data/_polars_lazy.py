# ruff: noqa: PLC0415 - polars loads on first use
"""Split a polars query into two queries, without collecting its rows."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.data._backend import Finding
from resilient_tasks.data._polars_errors import judged
from resilient_tasks.data._polars_plan import OTHER_COLUMNS, Plan
from resilient_tasks.data._polars_plan import plan as planned
from resilient_tasks.data.schemas import as_schema
from resilient_tasks.data.split import Report, Split

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl


def split_lazily(frame: pl.LazyFrame, schema: Any) -> Split[Any] | str:
    """Return the two parts as queries, counted in one streaming pass; or why the rows have to be collected.

    Args:
        frame: The query.
        schema: A schema or model for polars.
    """
    import polars as pl

    plan = planned(as_schema(schema), frame.collect_schema())
    if isinstance(plan, str):
        return (_refused(frame, schema) if plan is OTHER_COLUMNS else None) or plan
    asked, masks = plan.asked(frame), [plan.mask(number) for number in range(len(plan.rules))]
    failing = [(~pl.col(mask)).sum() for mask in masks]
    try:
        types = asked.collect_schema()
        if any(types[mask] != pl.Boolean for mask in masks):
            return "a rule does not answer by true or false"
        counted = asked.select(pl.len().alias(plan.row), (~plan.passes).sum().alias(plan.prefix), *failing)
        rows, invalid, *counts = counted.collect(engine="streaming").row(0)
    except (Exception, pl.exceptions.PanicException) as error:
        return f"a rule, or the query itself, raised {type(error).__name__}"
    report = LazyReport(plan, frame, rows, invalid, counts)
    good = asked.filter(plan.passes).select(plan.good)
    bad = asked.filter(~plan.passes).select(map(plan.as_read, plan.read))
    return Split(good, bad, report)


def _refused(frame: pl.LazyFrame, schema: Any) -> Split[Any] | None:
    """Return a query as it is, with what is wrong with its columns and types; None if pandera accepts them."""
    import polars as pl
    from pandera.config import ValidationDepth, config_context

    with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_ONLY):
        _, _, errors = judged(as_schema(schema), frame.collect_schema().to_frame(), any_rows=True)
    if not errors:
        return None
    rows = frame.select(pl.len()).collect(engine="streaming").item()
    return Split(frame, frame.clear(), Report(rows, frame_errors=tuple(dict.fromkeys(errors))))


class LazyReport(Report):
    """Counts, and on first use which rows they are: then the rows that some rule found are collected, and no others."""

    def __init__(self, plan: Plan, frame: pl.LazyFrame, rows: int, invalid: int, counts: list[int]) -> None:
        super().__init__(rows, invalid)
        for computed in ("findings", "warnings"):
            del self.__dict__[computed]  # the dataclass set them to nothing
        self.__dict__["_query"] = plan, frame, counts  # a report is frozen

    _query: tuple[Plan, pl.LazyFrame, list[int]]

    def __reduce__(self) -> tuple[Any, ...]:
        return Report, (self.rows, self.invalid, (), self.findings, self.warnings)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Each rule that some row failed, with the positions of those rows."""
        return tuple(self._found(warns=False))

    @cached_property
    def warnings(self) -> tuple[Finding, ...]:
        """Each rule that only warns and that some row broke, with the positions of those rows."""
        return tuple(self._found(warns=True))

    @cached_property
    def reasons(self) -> Mapping[tuple[str, str], int]:
        """Rows for each (column, check), most frequent first."""
        return self._counted(warns=False)

    @cached_property
    def warned(self) -> Mapping[tuple[str, str], int]:
        """Rows for each (column, check) that only warns, most frequent first."""
        return self._counted(warns=True)

    def _counted(self, *, warns: bool) -> dict[tuple[str, str], int]:
        plan, _, found = self._query
        rules = [(rule.column, rule.title) for rule in plan.rules if rule.warns == warns]
        if len(set(rules)) < len(rules):  # two rules of one name: a row counts once
            full = Report(self.rows, self.invalid, (), self.findings, self.warnings)
            return dict(full.warned if warns else full.reasons)
        told = zip(plan.rules, found, strict=True)
        counts = {(rule.column, rule.title): count for rule, count in told if count and rule.warns == warns}
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def _found(self, *, warns: bool) -> list[Finding]:
        (plan, _, counts), found = self._query, []
        for number, rule in enumerate(plan.rules):
            if rule.warns == warns and counts[number]:
                rows = self._evidence.filter(~self._evidence[plan.mask(number)])
                positions = rows[plan.row].to_numpy().astype(np.intp)
                read = rows[rule.column].to_list if rule.column in plan.read else None
                found.append(Finding(rule.column, rule.title, positions, read))
        return found

    @cached_property
    def _evidence(self) -> pl.DataFrame:
        """The rows that some rule found: their numbers, what was read in the rules' columns, and each rule's answer."""
        import polars as pl

        plan, frame, _ = self._query
        masks = [plan.mask(number) for number in range(len(plan.rules))]
        names = {rule.column for rule in plan.rules} & set(plan.read)
        asked = plan.asked(frame.with_row_index(plan.row)).filter(~pl.all_horizontal(masks))
        rows = asked.select(plan.row, *masks, *map(plan.as_read, names)).collect(engine="streaming")
        return rows.sort(plan.row)
