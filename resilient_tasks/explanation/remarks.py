"""Remarks about what is unusual in a pipeline: a stable code, a sentence, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from resilient_tasks.explanation import rules_of_code, rules_of_order, rules_of_time
from resilient_tasks.explanation.subjects import Context, Subject

#: The rules, and the order of their remarks.
RULES = (*rules_of_order.RULES, *rules_of_time.RULES, *rules_of_code.RULES)
#: The codes that remarks can have.
CODES = (
    *rules_of_order.CODES,
    *rules_of_time.CODES,
    *rules_of_code.CODES,
)


@dataclass(frozen=True)
class Remark:
    """Something unusual about a pipeline.

    Attributes:
        code: its stable name, such as `deadline-shorter-than-attempt`.
        sentence: what is unusual, and what that does.
        instead: what to write instead.
        name: of the task or function it is about; empty for a pipeline.
    """

    code: str
    sentence: str
    instead: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.code}: {self.sentence}. {self.instead}"

    def as_dict(self) -> dict[str, str]:
        """Return it as plain data."""
        return {"code": self.code, "sentence": self.sentence, "instead": self.instead, "name": self.name}


def remarks_on(subject: Subject, context: Context) -> Iterator[Remark]:
    """Yield the remarks on one pipeline."""
    for rule in RULES:
        for code, sentence, instead in rule(subject, context):
            yield Remark(code, sentence, instead, subject.name)
