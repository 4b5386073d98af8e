"""Great Expectations as OwnLens uses it: imported once, quiet, without a project on disk."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext

_lock = threading.Lock()


def data_context() -> EphemeralDataContext:
    """Return the process's one context. It holds settings only, so threads share it; imports on the first call."""
    with _lock:
        return _data_context()


@cache
def _data_context() -> EphemeralDataContext:
    with _warnings_left_alone(), _main_module_is_a_file():
        from great_expectations.data_context.data_context.ephemeral_data_context import EphemeralDataContext
        from great_expectations.data_context.types.base import (
            DataContextConfig,
            InMemoryStoreBackendDefaults,
            ProgressBarsConfig,
        )

        from . import running  # noqa: F401  (and all the rest that takes time)
    # Its errors come back in results, from where they are told in one line; the log would show whole queries.
    logging.getLogger("great_expectations").setLevel(logging.CRITICAL)
    # Built here and not by `get_context`, which would replace the context of a program that has one of its own.
    return EphemeralDataContext(
        DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(),
            progress_bars=ProgressBarsConfig(globally=False),
        )
    )


@contextmanager
def _warnings_left_alone() -> Iterator[None]:
    # Importing Great Expectations sends every warning of the process to logging.
    show = logging._warnings_showwarning  # type: ignore[attr-defined]
    try:
        yield
    finally:
        logging.captureWarnings(show is not None)


@contextmanager
def _main_module_is_a_file() -> Iterator[None]:
    # pyspark takes a main module that has neither file nor spec (python -c) for a doctest, and ends the process.
    main = sys.modules["__main__"]
    bare = not hasattr(main, "__file__") and getattr(main, "__spec__", None) is None
    if bare:
        main.__file__ = "<ownlens>"
    try:
        yield
    finally:
        if bare:
            del main.__file__
