"""Write small contract folders, and read back what the strict reader finds wrong with them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from ownlens_plugins.contracts import read_contracts
from ownlens_plugins.errors import ContractInvalid

ORDERS = """\
table: orders
domain: shop
preset: entity
key: [order_id]
path: shop/orders
columns:
  order_id: int64
  user_id: uuid?
  updated_at: timestamptz
"""
USERS = """\
table: users
domain: shop
preset: reference
key: [user_id]
path: shop/users
columns: {user_id: uuid, updated_at: timestamptz}
"""


def write(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(dedent(text), encoding="utf-8")


def problems(root: Path) -> list[str]:
    """Return every problem as `file:line: message`; fail when there is none."""
    with pytest.raises(ContractInvalid) as caught:
        read_contracts(root)
    return str(caught.value).splitlines()


def problems_of(root: Path, text: str, name: str = "shop/orders.yaml") -> list[str]:
    write(root, name, text)
    return problems(root)
