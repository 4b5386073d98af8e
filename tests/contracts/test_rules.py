"""What must hold inside one contract, and between contracts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ownlens_plugins.contracts import contract_from, parents_first, read_contracts
from ownlens_plugins.errors import ContractInvalid

from .writing import ORDERS, USERS, problems, problems_of, write

ROOT = Path(__file__).parents[2]
COLUMNS = {"order_id": "int64", "user_id": "uuid?", "day": "date", "updated_at": "timestamptz"}
ODD_NAMES = [
    "select",
    "Order",
    'a "b" c',
    "o'brien",
    "naïve",
    "订单",
    "🚀",
    "a b",
    "a.b",
    "a/b",
    "../x",
    "%s",
    "x" * 63,
]
DOCUMENT: dict[str, Any] = {
    "table": "orders",
    "domain": "shop",
    "preset": "entity",
    "key": ["order_id"],
    "path": "shop/orders",
    "columns": COLUMNS,
}


def messages(**changes: Any) -> str:
    with pytest.raises(ContractInvalid) as caught:
        contract_from({**DOCUMENT, **changes})
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": ["id"]}, "key names 'id', which is not a column"),
        ({"key": ["order_id", "order_id"]}, "key names a column twice"),
        ({"retention_days": 30}, "retention_days needs partition_by"),
        ({"key": ["user_id"]}, "key column 'user_id' must not be nullable"),
        (
            {"columns": {**COLUMNS, "order_id": "float64"}},
            "key column 'order_id' cannot be of type float64",
        ),
        ({"partition_by": "user_id"}, "partition_by column 'user_id' cannot be of type uuid"),
        ({"partition_by": "dya"}, "partition_by names 'dya', which is not a column"),
        ({"version_by": "order_uuid"}, "version_by names 'order_uuid', which is not a column"),
        ({"version_by": "order_id"}, "version_by column 'order_id' is no moment; name a cursor column beside it"),
        ({"cursor": "user_id"}, "cursor column 'user_id' must not be nullable"),
        ({"cursor": "order_id"}, "cursor column 'order_id' cannot be of type int64"),
        ({"columns": {"order_id": "int64"}}, "version_by names 'updated_at', which is not a column"),
        ({"extraction": "days"}, "extraction by days needs partition_by to name a date column"),
        ({"path": "/shop/orders"}, "path '/shop/orders' must be folder names joined by '/'"),
        ({"path": "shop/../orders"}, "without '..' or a leading '/'"),
        ({"path": "shop//orders"}, "must be folder names"),
        ({"path": "shop/./orders"}, "must be folder names"),
        ({"path": "shop/{{ date }}"}, "must be folder names"),
        ({"references": {"buyer_id": "users.user_id"}}, "references names 'buyer_id', which is not a column"),
        ({"references": {"user_id": "user_id"}}, "reference of 'user_id' must read table.column"),
        ({"destinations": {"s3": {"strategy": "overwrite"}}}, "s3: overwrite needs extraction: whole"),
        (
            {"destinations": {"clickhouse": {"strategy": "replace_partition"}}},
            "clickhouse: replace_partition needs extraction: days with partition: day",
        ),
        (
            {"preset": "events", "cursor": "updated_at", "destinations": {"s3": {"strategy": "upsert"}}},
            "s3: upsert needs version_by, so that an old load cannot undo a newer one",
        ),
    ],
)
def test_broken_rule_says_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    assert message in messages(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"version_by": "order_id", "cursor": "updated_at"},
        {"extraction": "days", "partition_by": "day", "destinations": {"clickhouse": {"partition": "day"}}},
        {"extraction": "whole", "destinations": {"s3": {"strategy": "overwrite"}}},
        {"preset": "events", "cursor": "updated_at"},
        {"key": ["order_id", "day"], "partition_by": "day"},
        {"path": "shop.v2/orders_1-2"},
    ],
)
def test_what_the_rules_allow(changes: dict[str, Any]) -> None:
    assert contract_from({**DOCUMENT, **changes}).table == "orders"


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_are_names(name: str) -> None:
    contract = contract_from({**DOCUMENT, "table": name, "columns": {**COLUMNS, name: "text?"}})
    assert contract.column(name).name == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "is empty or holds a control character"),
        ("a\0b", "is empty or holds a control character"),
        ("a\nb", "is empty or holds a control character"),
        ("\ud800", "is empty or holds a control character"),
        ("x" * 64, "is longer than 63 bytes, which PostgreSQL would cut"),
        ("é" * 32, "is longer than 63 bytes, which PostgreSQL would cut"),
        ("_ownlens_load", "starts with '_ownlens', which OwnLens keeps for itself"),
    ],
)
def test_names_that_no_store_keeps_are_refused(name: str, message: str) -> None:
    assert message in messages(table=name)
    assert message in messages(columns={**COLUMNS, name: "text?"})


def test_every_broken_rule_is_reported_with_its_line(tmp_path: Path) -> None:
    text = ORDERS.replace("[order_id]", "[order_no]").replace("path: shop", "path: ../shop") + "partition_by: day\n"
    assert [line.split(": ")[0] for line in problems_of(tmp_path, text)] == [
        "shop/orders.yaml:4",
        "shop/orders.yaml:5",
        "shop/orders.yaml:10",
    ]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("user.user_id", "reference of 'user_id': unknown table 'user'; did you mean 'users'?"),
        ("users.id", "reference must name the single key of 'users', which is user_id"),
        ("users.updated_at", "reference must name the single key of 'users', which is user_id"),
    ],
)
def test_broken_reference_names_file_line_and_fix(tmp_path: Path, reference: str, message: str) -> None:
    write(tmp_path, "shop/users.yaml", USERS)
    found = problems_of(tmp_path, ORDERS + f"references:\n  user_id: {reference}\n")
    assert found == [f"shop/orders.yaml:11: {message}"]


def test_reference_of_another_type_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "shop/users.yaml", USERS)
    text = ORDERS.replace("user_id: uuid?", "user_id: int64?") + "references: {user_id: users.user_id}\n"
    assert problems_of(tmp_path, text) == ["shop/orders.yaml:10: 'user_id' and users.user_id have different types"]


def test_references_are_judged_although_another_file_is_broken(tmp_path: Path) -> None:
    write(tmp_path, "shop/users.yaml", "table: [\n")
    write(tmp_path, "shop/carts.yaml", ORDERS.replace("orders", "carts") + "references: {user_id: users.user_id}\n")
    found = problems_of(tmp_path, ORDERS + "references: {user_id: nobody.user_id}\n")
    assert [line.split(": ")[0] for line in found] == ["shop/orders.yaml:10", "shop/users.yaml:2"]


def node(table: str, *parents: str) -> str:
    columns = "".join(f", {parent}_id: int32" for parent in parents)
    references = ", ".join(f"{parent}_id: {parent}.{parent}_key" for parent in parents)
    return f"""\
table: {table}
domain: shop
preset: reference
key: [{table}_key]
path: shop/{table}
columns: {{{table}_key: int32, updated_at: timestamptz{columns}}}
references:
  {{{references}}}
"""


def test_every_circle_of_foreign_keys_is_reported(tmp_path: Path) -> None:
    for table, parents in {"a": "b", "b": "c", "c": "a", "d": "e", "e": "d", "f": "f"}.items():
        write(tmp_path, f"shop/{table}.yaml", node(table, parents))
    assert problems(tmp_path) == [
        "shop/a.yaml:8: foreign keys form a circle: a -> b -> c -> a",
        "shop/d.yaml:8: foreign keys form a circle: d -> e -> d",
    ]


def test_two_tables_with_one_path_are_an_error(tmp_path: Path) -> None:
    write(tmp_path, "shop/users.yaml", USERS.replace("shop/users", "shop/orders"))
    assert problems_of(tmp_path, ORDERS) == [
        "shop/users.yaml:5: path 'shop/orders' is the folder of table 'orders' already"
    ]


def test_parents_come_first_as_far_as_they_are_given(tmp_path: Path) -> None:
    for table, parents in {"a": "bc", "b": "d", "c": "d", "d": "", "e": "e"}.items():
        write(tmp_path, f"shop/{table}.yaml", node(table, *parents))
    contracts = list(read_contracts(tmp_path).values())
    order = [contract.table for contract in parents_first(contracts)]
    assert sorted(order) == ["a", "b", "c", "d", "e"]
    assert order.index("d") < order.index("b") < order.index("a")
    assert order.index("c") < order.index("a")
    chosen = parents_first([contract for contract in contracts if contract.table in "abd"])
    assert [contract.table for contract in chosen] == ["d", "b", "a"]


def test_parents_first_orders_the_whole_newsroom() -> None:
    contracts = read_contracts(ROOT / "table_configs")
    order = [contract.table for contract in parents_first(contracts.values())]
    assert sorted(order) == sorted(contracts)
    position = {table: index for index, table in enumerate(order)}
    edges = [(ref.table, c.table) for c in contracts.values() for ref in c.references if ref.table != c.table]
    assert all(position[parent] < position[child] for parent, child in edges)


def test_order_and_fingerprints_are_the_same_in_every_process() -> None:
    program = (
        "from ownlens_plugins.contracts import parents_first, read_contracts;"
        "print([(c.table, c.fingerprint) for c in parents_first(read_contracts('table_configs').values())])"
    )
    orders = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, check=True, env={"PYTHONHASHSEED": seed}, cwd=ROOT
        ).stdout
        for seed in ("1", "2")
    }
    assert len(orders) == 1
