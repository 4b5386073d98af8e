"""Small notes of the staging area, of which every run can do without: a damaged one counts as none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger("ownlens.load")
Known = TypeVar("Known")
# What reading an empty, cut or foreign object as JSON of ours raises.
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, AssertionError)


def read_note(name: str, content: bytes | None, read: Callable[[bytes], Known], nothing: Known) -> Known:
    """Return what a note says, or `nothing` where there is none or it is damaged, which is logged.

    Only for what may be lost: without it a run reads more, validates once more, or names a costlier command.
    """
    if content is None:
        return nothing
    try:
        return read(content)
    except DAMAGED as error:
        logger.warning(
            "%s is damaged (%s) and counts as absent; the next run writes it anew", name, type(error).__name__
        )
        return nothing
