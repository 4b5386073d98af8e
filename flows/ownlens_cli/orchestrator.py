"""Import Prefect: what is wrong with its own settings becomes one line."""

from __future__ import annotations

import contextlib
import io
import warnings

from ownlens_plugins.errors import SettingsInvalid


def start_prefect() -> None:
    """Import Prefect, which takes seconds and reads its settings then.

    Raises:
        SettingsInvalid: they cannot be used.
    """
    try:
        # It prints what is wrong, raises it, and warns of what the commands say themselves.
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import prefect.main  # noqa: F401
    except ImportError:
        raise
    except Exception as error:
        fix = "correct the variables of the environment that begin with PREFECT_, or the profiles.toml in PREFECT_HOME"
        raise SettingsInvalid(f"Prefect's settings cannot be used: {_reasons(error)}; {fix}") from None


def _reasons(error: Exception) -> str:
    # Values are not shown: one may be a password.
    if not hasattr(error, "errors"):
        return type(error).__name__
    found = error.errors(include_url=False, include_input=False)
    return ", ".join(": ".join([*map(str, one["loc"]), str(one["msg"])]) for one in found)
