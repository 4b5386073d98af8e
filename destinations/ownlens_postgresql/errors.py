"""Driver errors as OwnLens errors. Only the primary message, the SQLSTATE and names pass; never values or secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import adbc_driver_manager as adbc

from ownlens_plugins.errors import CommitUnknown, OwnLensError, Rejected, Retryable

from .answers import Unanswered
from .config import PostgreSQLConfig
from .connection import StreamBroken
from .sql import quote

DriverError = (adbc.Error, Unanswered, StreamBroken)

UNIQUE_VIOLATION = "23505"
FOREIGN_KEY_VIOLATION = "23503"
FORBIDDEN = "42501"
MISSING = frozenset({"3F000", "42P01"})  # schema, table
# Class or whole SQLSTATE: the server may do better the next time. 25P03 and 25P04 ended a transaction that took long;
# 22P03 says that a column was widened after the load was opened.
_TRANSIENT = ("08", "22P03", "25P03", "25P04", "40", "53", "55006", "55P03", "57", "58")
# An answer to COMMIT after which the server may still have committed: it was told to stop, or the line broke.
_UNDECIDED = ("08", "57", "58", "XX")

# Errors whose text a function may have made itself, out of a row's values.
_SPOKEN = ("P0", "22", "23")
# What libpq says when a connection fails, with all names taken out, and what to do about it.
_REFUSED: Mapping[str, str] = {
    "password authentication failed": "the password of user {user!r} is refused; correct the profile's password, "
    "or renew it if it has expired",
    "no password supplied": "the server wants a password for user {user!r}; set the profile's password",
    'role "" ': "user {user!r} does not exist or may not log in; correct the profile's user",
    'for database ""': "user {user!r} may not enter database {database!r}; run GRANT CONNECT ON DATABASE "
    "{database_name} TO {user_name}",
    'database "" ': "database {database!r} does not exist or may not be entered; create it or correct the profile",
    "pg_hba.conf": "the server's pg_hba.conf admits no such connection for user {user!r} with sslmode {tls}; "
    "add a line for it, or change the profile's sslmode",
    "certificate": "the server's certificate is not trusted; set sslrootcert, and host to the name it was issued for",
    "does not support ssl": "the server offers no TLS; switch TLS on there, or set sslmode: disable",
    "startup parameter": "the pooler refuses the parameter that pins search_path; let it ignore or pass on `options`",
    "invalid": "a connection parameter is invalid; correct the profile",
}
_BUSY = ("too many", "remaining connection slots")
_CHANGING = ("starting up", "shutting down", "recovery")
_QUOTED = re.compile(r'"[^"]*"')


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a driver error says, without anything that could be a value of a row.

    `in_function` says that a function failed: one of a trigger's, since a load calls none of the database's own.
    `schema` and `table` are where the constraint is.
    """

    sqlstate: str | None
    message: str
    constraint: str | None
    in_function: bool = False
    schema: str | None = None
    table: str | None = None

    def is_any(self, prefixes: tuple[str, ...]) -> bool:
        return self.sqlstate is not None and self.sqlstate.startswith(prefixes)

    def __str__(self) -> str:
        named = f", constraint {self.constraint}" if self.constraint else ""
        return f"{self.message} [{self.sqlstate}{named}]"


def diagnose(error: BaseException) -> Diagnosis:
    """Read a driver error's diagnostic fields."""
    if not isinstance(error, adbc.Error):
        return Diagnosis(None, str(error), None)
    fields = {_text(name): _text(value) for name, value in error.details or ()}
    state = fields.get("PG_DIAG_SQLSTATE") or error.sqlstate
    message = fields.get("PG_DIAG_MESSAGE_PRIMARY", "")
    in_function = " function " in f" {fields.get('PG_DIAG_CONTEXT', '')}"
    if in_function and state is not None and state.startswith(_SPOKEN):
        message = "a trigger's function refused a row"
    elif state is not None and state.startswith("22"):  # data exceptions quote the value
        message = _QUOTED.sub('"..."', message)
    names = (fields.get(f"PG_DIAG_{name}_NAME") for name in ("CONSTRAINT", "SCHEMA", "TABLE"))
    constraint, schema, table = names
    return Diagnosis(state, " ".join(message.split()), constraint, in_function, schema, table)


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


Explain = Callable[[Diagnosis], OwnLensError | None]


@dataclass(frozen=True, slots=True)
class Context:
    """Where an error happened, as the message names it. `explain` may know more about a violated constraint."""

    table: str | None
    place: str
    explain: Explain | None = None

    @property
    def where(self) -> str:
        """The table and the destination, as every message begins."""
        return f"{self.table}: postgresql" if self.table else "postgresql"

    @property
    def whereabouts(self) -> str:
        """The same with the server."""
        return f"{self.where} at {self.place}"


def unreachable(error: BaseException, config: PostgreSQLConfig, context: Context) -> OwnLensError:
    """Return the error for a connection that was not made."""
    place = context.whereabouts
    reason = " ".join(_QUOTED.sub('""', str(error)).lower().split()) if isinstance(error, adbc.Error) else ""
    if any(sign in reason for sign in _BUSY):
        limits = "its max_connections, or the CONNECTION LIMIT of the role or the database"
        return Retryable(f"{place}: the server has no free connection; run it again, or raise {limits}")
    if any(sign in reason for sign in _CHANGING):
        return Retryable(f"{place}: the server is starting or stopping; run it again")
    for sign, fix in _REFUSED.items():
        if sign in reason:
            names = {"user_name": quote(config.user), "database_name": quote(config.database)}
            found = fix.format(user=config.user, database=config.database, tls=config.tls, **names)
            return Rejected(f"{place}: {found}")
    return Retryable(f"{place}: not reachable; check that the server runs and that host and port are right")


def translate(error: BaseException, context: Context) -> OwnLensError:
    """Return the error for a statement before COMMIT was sent: nothing has landed."""
    found = diagnose(error)
    where = context.where
    if found.sqlstate is None:
        return _without_state(error, context)
    if context.explain is not None and (explained := context.explain(found)):
        return explained
    if found.in_function and found.is_any(("42",)):
        return Rejected(
            f"{where} refused: a trigger's function failed: {found}; a load's search_path holds the catalogue only: "
            "name the schemas inside of the function, or run ALTER FUNCTION ... SET search_path"
        )
    if found.sqlstate in MISSING:
        return Retryable(f"{where}: a table vanished while the load ran ({found}); run it again")
    if found.is_any(_TRANSIENT):
        return Retryable(f"{where} could not finish now: {found}; run it again")
    return Rejected(f"{where} refused: {found}; {_fix(found)}")


def _without_state(error: BaseException, context: Context) -> OwnLensError:
    lost = isinstance(error, Unanswered | StreamBroken) or (
        isinstance(error, adbc.Error) and error.status_code == adbc.AdbcStatusCode.IO
    )
    if lost:
        return Retryable(f"{context.whereabouts}: the connection was lost; run it again")
    return Rejected(
        f"{context.where}'s driver refused the rows ({type(error).__name__}); "
        "check that the staged columns have the contract's types"
    )


def _fix(found: Diagnosis) -> str:
    state = found.sqlstate or ""
    if state == UNIQUE_VIOLATION:
        return (
            "set on_conflict: skip or update, or remove the duplicate from the source; if the ledger was lost, and the "
            "rows are there, take them with ownlens adopt"
        )
    if state == FOREIGN_KEY_VIOLATION:
        return "load the referenced rows first, or drop the constraint from the table"
    if state == FORBIDDEN and "row-level security" in found.message:
        return (
            "run ALTER ROLE ... BYPASSRLS for the profile's user, or load as the table's owner, and, if its policies "
            "are forced, run ALTER TABLE ... NO FORCE ROW LEVEL SECURITY"
        )
    if state == FORBIDDEN:
        return "grant the right to the profile's user"
    if "no partition" in found.message:
        return "make the partition for these rows, or a DEFAULT partition"
    if "replica identity" in found.message:
        return "give the table a PRIMARY KEY, or run ALTER TABLE ... REPLICA IDENTITY FULL"
    if state == "428C9":
        return (
            "take the column out of the contract, or run ALTER TABLE ... ALTER COLUMN ... SET GENERATED BY DEFAULT for "
            "an identity column, DROP EXPRESSION for a computed one"
        )
    if state == "0A000" and "alter type" in found.message:
        return "drop what uses the column, load again, and make it anew"
    if state == "25006":
        return (
            "point the profile at the primary server, or, if it is, set default_transaction_read_only to off for the "
            "profile's user"
        )
    if state.startswith(("22", "23")):
        return "correct the rows in the source, or the contract"
    return "compare the table with its contract"


def unknown_commit(error: BaseException, context: Context) -> OwnLensError:
    """Return the error for a COMMIT that did not succeed: a refusal is certain, silence is not."""
    found = diagnose(error)
    if found.sqlstate is None or found.is_any(_UNDECIDED):
        return CommitUnknown(f"{context.whereabouts} gave no answer to COMMIT; run it again to find out")
    return translate(error, context)


def is_forbidden(error: BaseException) -> bool:
    """Tell whether a driver error says that the role lacks a right."""
    return isinstance(error, adbc.Error) and error.sqlstate == FORBIDDEN


def is_missing(error: BaseException) -> bool:
    """Tell whether a driver error says that a schema or table does not exist."""
    return isinstance(error, adbc.Error) and error.sqlstate in MISSING
