"""Load blocks from Prefect's server by name."""

from __future__ import annotations

from typing import Any

import httpx
from prefect.blocks.core import Block
from prefect.settings import PREFECT_API_URL


def loaded(name: str) -> Any:
    """Load a block, also while an event loop is running.

    Args:
        name: its type and name, as in `remote-file-system/ml`.

    Raises:
        OSError: the server does not answer or has no such block, or the library that defines its type is not installed.
    """
    try:
        return Block.load(name, _sync=True)  # type: ignore[call-arg]  # taken by its decorator, also beside a loop
    except (httpx.HTTPError, OSError) as error:
        raise OSError(f"Prefect's server does not answer: {str(error) or type(error).__name__}") from error
    except ValueError as error:  # its message says what is missing
        where = PREFECT_API_URL.value() or "of this process"
        raise FileNotFoundError(f"{error} on the server {where}: `prefect block ls` lists its blocks") from error
