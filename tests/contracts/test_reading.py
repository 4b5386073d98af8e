"""The strict reader: every problem at once, each with its file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from ownlens_cli.main import run
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


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("Order Details", "Order Details.yaml"),
        ("a/b", "a%2Fb.yaml"),
        ("..", "%2E..yaml"),
        (".hidden", "%2Ehidden.yaml"),
        ("100%", "100%25.yaml"),
        ("100%", "100%.yaml"),
        ("a%2Fb", "a%252Fb.yaml"),
        ("日本語", "日本語.yaml"),
        ("caf\u00e9", "cafe\u0301.yaml"),
    ],
)
def test_every_table_has_a_file(tmp_path: Path, table: str, name: str) -> None:
    write(tmp_path, f"shop/{name}", ORDERS.replace("table: orders", f"table: '{table}'"))
    assert list(read_contracts(tmp_path)) == [table]


def test_a_name_that_no_file_can_have_is_told_the_one_to_use(tmp_path: Path) -> None:
    text = ORDERS.replace("table: orders", "table: a/b").replace("domain: shop", "domain: ../up")
    found = problems_of(tmp_path, text)
    assert found == [
        "shop/orders.yaml:1: table 'a/b' must lie in a file named a%2Fb.yaml",
        "shop/orders.yaml:2: domain '../up' must lie in a folder named %2E.%2Fup/",
    ]
    (tmp_path / "shop/orders.yaml").unlink()
    write(tmp_path, "%2E.%2Fup/a%2Fb.yaml", text)
    assert list(read_contracts(tmp_path)) == ["a/b"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("user_id: uuid?", "user_id: {type: uuid?}", "inside of { } and [ ] quote a text that holds a question mark"),
        ("key: [order_id]", "key: [order_id?]", "inside of { } and [ ] quote a text that holds a question mark"),
        ("key: [order_id]", "key: [order_id", "close the bracket, or put a comma between"),
        ("domain: shop", "domain: 'shop", "close the quote"),
        ("domain: shop", "domain: shop: eu", "quote a text that holds a colon"),
        ("domain: shop", "domain: @shop", "quote a text that begins with this character"),
        ("domain: shop", "domain: 'it's'", "quote the whole text with '"),
        ("domain: shop", "domain: [red]shop", "quote the whole text with '"),
        ("  user_id", "\tuser_id", "indent with blanks"),
        ("  user_id", " user_id", "indent keys of one mapping alike"),
    ],
)
def test_what_yaml_cannot_read_is_told_with_its_cure(tmp_path: Path, old: str, new: str, message: str) -> None:
    found = problems_of(tmp_path, ORDERS.replace(old, new))
    assert any("not valid YAML: " in line and message in line for line in found), found


def test_a_file_that_cannot_be_read_is_one_problem_of_all(tmp_path: Path) -> None:
    write(tmp_path, "shop/users.yaml", USERS + "kay: 1\n")
    (tmp_path / "shop/orders.yaml").mkdir()
    (tmp_path / "shop/carts.yaml").symlink_to("nowhere")
    lines = problems(tmp_path)
    assert [line.split(": ")[:2] for line in lines[:2]] == [
        ["shop/carts.yaml", "cannot be read"],
        ["shop/orders.yaml", "cannot be read"],
    ]
    assert "unknown key 'kay'" in lines[2]


def test_a_type_that_yaml_cuts_at_its_comma_is_told_with_the_cure(tmp_path: Path) -> None:
    columns = "columns: {order_id: int64, user_id: decimal(12,2), updated_at: timestamptz}\n"
    head = ORDERS[: ORDERS.index("columns:")]
    found = problems_of(tmp_path, head + columns)
    assert any("type 'decimal(12' is cut at its comma; inside of { } quote it" in line for line in found), found
    write(
        tmp_path,
        "shop/orders.yaml",
        ORDERS[: ORDERS.index("columns:")] + columns.replace("decimal(12,2)", "'decimal(12,2)'"),
    )
    assert str(read_contracts(tmp_path)["orders"].column("user_id")) == "decimal(12,2)"


def test_what_else_is_wrong_is_told_beside_what_cannot_be_read(tmp_path: Path) -> None:
    text = ORDERS.replace("key: [order_id]", "key: [nothing]").replace("user_id: uuid?", "user_id: guid")
    found = problems_of(tmp_path, text.replace("path: shop/orders", "path: ../orders\ncolour: red"))
    assert [line.split(": ")[0] for line in found] == [f"shop/orders.yaml:{line}" for line in (4, 5, 6, 9)]
    assert not any("version_by names" in line for line in found)


def test_a_column_of_unknown_type_is_not_judged_by_a_guess(tmp_path: Path) -> None:
    (line,) = problems_of(tmp_path, ORDERS.replace("updated_at: timestamptz", "updated_at: datetime"))
    assert "unknown type 'datetime'" in line


NEVER_WRITTEN = """\
table: orders
domain: shop
preset: {preset}
key: [order_id]
path: shop/orders
columns:
  order_id: int64
  at: timestamptz
"""
WHOLE = """\
extraction: whole
destinations:
  s3: {strategy: overwrite, partition: none}
  postgresql: {strategy: overwrite}
  clickhouse: {strategy: overwrite, partition: none}
"""


@pytest.mark.parametrize(
    ("preset", "said", "cures"),
    [
        ("entity", "version_by names 'updated_at'", ["version_by: at\npartition_by: at\n"]),
        ("reference", "version_by names 'updated_at'", ["version_by: at\n"]),
        ("events", "cursor names 'created_at'", ["cursor: at\npartition_by: at\n", WHOLE]),
    ],
)
def test_what_a_preset_says_is_told_with_how_to_say_other(
    tmp_path: Path, preset: str, said: str, cures: list[str]
) -> None:
    text = NEVER_WRITTEN.replace("{preset}", preset)
    (line,) = problems_of(tmp_path, text)
    assert f"{said}, which is not a column; preset {preset} says so: write " in line
    assert "preset: events with extraction: whole and, in each destination, strategy: overwrite" in line
    for cure in cures:
        write(tmp_path, "shop/orders.yaml", text + cure)
        assert run(["contracts", "check", "--contracts", str(tmp_path)]) == 0


def test_what_a_destination_would_refuse_is_told_before_any_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = NEVER_WRITTEN.replace("{preset}", "events") + WHOLE.replace(", partition: none", "")
    write(tmp_path, "shop/orders.yaml", text.replace("clickhouse: {", "clickhouse: {order_by: [nope], "))
    assert run(["contracts", "check", "--contracts", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "s3: partition: day needs partition_by in the contract; name a column, or set partition: none" in told
    assert "clickhouse: partition: month needs partition_by in the contract" in told
    assert "clickhouse: order_by: unknown column 'nope'" in told
    write(tmp_path, "shop/orders.yaml", NEVER_WRITTEN.replace("{preset}", "events") + WHOLE)
    assert run(["contracts", "check", "--contracts", str(tmp_path)]) == 0


def test_what_a_person_wrote_is_not_called_a_preset(tmp_path: Path) -> None:
    found = problems_of(tmp_path, ORDERS + "version_by: changed\n")
    assert found == ["shop/orders.yaml:10: version_by names 'changed', which is not a column"]
