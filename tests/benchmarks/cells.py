"""The jobs that `timeouts.py` gives to `places.py`, and their results."""

from dataclasses import dataclass, field

LIMIT = 1.0  # seconds


@dataclass
class Job:
    """What to measure: see `overlong` for `port` and `steps`; the signs of life lie in `folder`."""

    place: str
    way: str
    folder: str
    port: int
    steps: int


@dataclass
class Cell:
    """One call of six seconds of work with a limit of one second.

    Attributes:
        seconds: from the call until it returned, or from the start to the end of the task run in a pool's process.
        ended: name of the final state.
        claimed: whether the work was stopped, by the error's own account. None if it gives none.
        message: the error's text.
        ran_on: whether the work was still alive after the limit.
    """

    work: str
    place: str
    way: str
    seconds: float
    ended: str
    claimed: bool | None
    message: str
    ran_on: bool = False


@dataclass
class Measured:
    """The cells of one job, and the seconds that the first call of its process took."""

    first_call: float
    cells: list[Cell] = field(default_factory=list)
