"""The strict reader: every problem at once, each with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ownlens_plugins.contracts import contract_from, read_contract, read_contracts
from ownlens_plugins.errors import ContractInvalid

from .writing import ORDERS, USERS, problems, problems_of, write


def test_valid_contracts_are_read_in_order_of_domain_and_table(tmp_path: Path) -> None:
    write(tmp_path, "shop/users.yaml", USERS)
    write(tmp_path, "shop/orders.yaml", ORDERS + "references: {user_id: users.user_id}\n")
    assert list(read_contracts(tmp_path)) == ["orders", "users"]
    assert read_contract(tmp_path / "shop/orders.yaml").references[0].table == "users"


def test_all_problems_of_all_files_come_at_once_with_file_and_line(tmp_path: Path) -> None:
    write(tmp_path, "shop/users.yaml", USERS + "kay: [x]\n")
    write(tmp_path, "shop/carts.yaml", "table: [\n")
    found = problems_of(
        tmp_path,
        """\
        table: orders
        domain: shops
        preset: entities
        key: order_id
        key: [order_id]
        path: shop/orders
        columns:
          order_id: int65
          total: decimal(40,2)
          updated_at: NO
        on_bad_value: ignore
        """,
    )
    places = [line.split(": ", 1)[0] for line in found]
    assert places == [
        "shop/carts.yaml:2",  # not valid YAML
        "shop/orders.yaml:2",  # wrong folder
        "shop/orders.yaml:3",  # unknown preset
        "shop/orders.yaml:5",  # duplicate key
        "shop/orders.yaml:8",  # unknown type
        "shop/orders.yaml:9",  # too many digits
        "shop/orders.yaml:10",  # NO
        "shop/orders.yaml:11",  # unknown value
        "shop/users.yaml:7",  # unknown key
    ]
    assert all(line.count("\n") == 0 for line in found)


def test_duplicate_key_names_the_second_line(tmp_path: Path) -> None:
    found = problems_of(tmp_path, ORDERS + "preset: entity\n")
    assert found == ["shop/orders.yaml:10: duplicate key 'preset'"]


def test_duplicate_column_names_the_second_line(tmp_path: Path) -> None:
    found = problems_of(tmp_path, ORDERS + "  order_id: int32\n")
    assert found == ["shop/orders.yaml:10: duplicate key 'order_id'"]


def test_unknown_key_lists_the_known_ones(tmp_path: Path) -> None:
    (line,) = problems_of(tmp_path, ORDERS + "primary_key: [order_id]\n")
    assert line.startswith("shop/orders.yaml:10: unknown key 'primary_key'; known: table, domain,")


@pytest.mark.parametrize(
    ("old", "new", "place", "message"),
    [
        ("key: [order_id]", "key: order_id", 4, "key: Input should be a valid list"),
        ("key: [order_id]", "key: []", 4, "key: List should have at least 1 item"),
        ("key: [order_id]", "key:\n- order_id\n- 7", 6, "key.1: Input should be a valid string"),
        ("order_id: int64", "order_id: 64", 7, "columns.order_id: Input should be a valid string"),
        ("order_id: int64", "order_id: [int64]", 7, "columns.order_id: Input should be a valid string"),
        ("order_id: int64", "order_id: number", 7, "columns.order_id: unknown type 'number'; known: bool, int16"),
        ("domain: shop", "domain:", 2, "domain: Input should be a valid string"),
        ("preset: entity", "preset: 5", 3, "preset: Input should be 'reference', 'events', 'entity' or 'daily'"),
    ],
)
def test_wrong_type_names_the_line_of_the_value(tmp_path: Path, old: str, new: str, place: int, message: str) -> None:
    found = problems_of(tmp_path, ORDERS.replace(old, new))
    assert any(line.startswith(f"shop/orders.yaml:{place}: {message}") for line in found), found


@pytest.mark.parametrize(
    "text",
    ["NO", "no", "Yes", "on", "Off", "y", "True", "FALSE", "Null", "0123", "007", "12:30:00", "1:30", "2026-01-02"],
)
def test_yaml_accidents_are_errors_with_the_cure(tmp_path: Path, text: str) -> None:
    found = problems_of(tmp_path, ORDERS + f"destinations:\n  s3:\n    option: {text}\n")
    assert found == [
        f"shop/orders.yaml:12: {text} is ambiguous in YAML; quote it as '{text}' or write true or false",
    ]
    write(tmp_path, "shop/orders.yaml", ORDERS + f"destinations:\n  s3:\n    option: '{text}'\n")
    assert read_contracts(tmp_path)["orders"].destinations["s3"]["option"] == text


def test_an_accident_in_a_key_is_an_error(tmp_path: Path) -> None:
    found = problems_of(tmp_path, ORDERS.replace("user_id: uuid?", "on: uuid?"))
    assert found == ["shop/orders.yaml:8: on is ambiguous in YAML; quote it as 'on' or write true or false"]
    assert problems_of(tmp_path, ORDERS.replace("user_id: uuid?", "7: uuid?")) == [
        "shop/orders.yaml:8: key '7' must be text"
    ]


def test_plain_values_keep_their_meaning(tmp_path: Path) -> None:
    text = ORDERS + "destinations:\n  s3: {a: true, b: 12, c: -1.5, d: null, e: 1e3, f: 'true', g: NOPE, h: 0, i: ~}\n"
    write(tmp_path, "shop/orders.yaml", text)
    assert read_contracts(tmp_path)["orders"].destinations["s3"] == {
        "a": True,
        "b": 12,
        "c": -1.5,
        "d": None,
        "e": 1000.0,
        "f": "true",
        "g": "NOPE",
        "h": 0,
        "i": None,
    }


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("on_bad_value: &bad fail\n", "anchors are not allowed"),
        ("checks: !!python/object/apply:os.system [touch x]\n", "tags are not allowed"),
        ("description: !!str 5\n", "tags are not allowed"),
    ],
)
def test_anchors_and_tags_are_refused(tmp_path: Path, added: str, message: str) -> None:
    found = problems_of(tmp_path, ORDERS + added)
    assert any(line.startswith("shop/orders.yaml:10:") and message in line for line in found), found


def test_an_alias_bomb_and_an_alias_of_itself_are_refused_at_once(tmp_path: Path) -> None:
    bomb = ORDERS + "description: &a x\nchecks: &c [*a, *a, *c]\ndestinations: {s3: *c}\n"
    found = problems_of(tmp_path, bomb)
    assert sum("aliases are not allowed" in line for line in found) == 4
    assert sum("anchors are not allowed" in line for line in found) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "shop/orders.yaml: file is empty"),
        ("# nothing\n", "shop/orders.yaml: file is empty"),
        ("- a\n- b\n", "shop/orders.yaml:1: a contract must be a mapping that starts with table:"),
        ("just text\n", "shop/orders.yaml:1: a contract must be a mapping that starts with table:"),
        ("table: a\n---\ntable: b\n", "shop/orders.yaml:2: not valid YAML: but found another document"),
        ("table: a\n\tdomain: b\n", "shop/orders.yaml:2: not valid YAML: found character '\\t'"),
        ("[" * 1000, "shop/orders.yaml: is nested too deeply"),
        ("a" * 300_000, "shop/orders.yaml: file is larger than 262144 bytes"),
    ],
)
def test_files_that_hold_no_mapping_are_refused(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "shop/orders.yaml", text)
    assert problems(tmp_path)[0].startswith(message)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "shop/users.yaml", USERS)
    (tmp_path / "shop/orders.yaml").write_bytes(b"table: \xff\n")
    assert problems(tmp_path)[0].startswith("shop/orders.yaml: not valid YAML: ")


@pytest.mark.parametrize("name", ["orders.yaml", "shop/deep/orders.yaml", "shop/orders.yml"])
def test_a_contract_that_would_not_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    write(tmp_path, "shop/users.yaml", USERS)
    (line,) = problems_of(tmp_path, ORDERS, name)
    assert line == f"{name}:1: a contract must lie in <domain>/<table>.yaml, or it is not read; move this file"


def test_wrong_folder_and_file_name_point_at_the_key(tmp_path: Path) -> None:
    assert problems_of(tmp_path, ORDERS, "store/order.yaml") == [
        "store/order.yaml:1: table 'orders' must lie in a file named orders.yaml",
        "store/order.yaml:2: domain 'shop' must lie in a folder named shop/",
    ]


def test_a_table_in_two_domains_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, "shop/orders.yaml", ORDERS)
    other = ORDERS.replace("domain: shop", "domain: store").replace("path: shop", "path: store")
    assert problems_of(tmp_path, other, "store/orders.yaml") == [
        "store/orders.yaml:1: table 'orders' is already defined in shop/orders.yaml"
    ]


def test_a_folder_without_contracts_says_what_it_expects(tmp_path: Path) -> None:
    assert problems(tmp_path / "none") == [
        f"{tmp_path / 'none'}: no contracts found; expected <domain>/<table>.yaml files"
    ]


def test_plain_values_go_by_the_same_rules() -> None:
    with pytest.raises(ContractInvalid, match="<contract>: unknown key 'kay'"):
        contract_from({"table": "orders", "kay": 1})
