"""The registry with real distributions beside the built-in ones: good ones, and every way to be a bad one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ownlens_plugins.contracts import Strategy
from ownlens_plugins.errors import DestinationUnavailable, UnknownName
from ownlens_plugins.registry import Registry
from ownlens_plugins.testing import sample_contract

from .packages import Packages, destination


def problem_of(name: str) -> str:
    """Return the one line that says why a plugin cannot be used; the others go on working."""
    registry = Registry()
    with pytest.raises(DestinationUnavailable) as caught:
        registry.destination_type(name)
    assert registry.destination_type("s3").name == "s3"
    status = {plugin.name: (plugin.status, plugin.problem) for plugin in Registry().describe()}
    assert status[name] == ("failed", str(caught.value))
    assert status["s3"] == ("ok", "")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_built_in_destinations_are_plugins_like_any_other() -> None:
    registry = Registry()
    assert set(registry.names) >= {"s3", "postgresql", "clickhouse"}
    described = {plugin.name: plugin for plugin in registry.describe()}
    assert {described[name].distribution for name in ("s3", "postgresql", "clickhouse")} == {"ownlens"}
    assert [described[name].status for name in ("s3", "postgresql", "clickhouse")] == ["ok"] * 3
    assert {"append", "upsert", "overwrite"} <= set(described["s3"].strategies)


@pytest.mark.parametrize(("alias", "name"), [("minio", "s3"), ("postgres", "postgresql"), ("ch", "clickhouse")])
def test_aliases_of_the_built_in_destinations(alias: str, name: str) -> None:
    assert Registry().resolve(alias) == name
    assert Registry().resolve(name) == name


def test_a_third_party_destination_is_found_described_and_built(packages: Packages) -> None:
    packages.install(
        "acme-lite", {"acme_lite": destination("lite", aliases=("li",))}, destinations={"lite": "acme_lite"}
    )
    registry = Registry()
    assert "lite" in registry.names
    assert registry.resolve("li") == "lite"
    built = registry.create("lite", {"path": "x"})
    assert (built.name, built.config.path) == ("lite", "x")
    assert registry.options("lite", sample_contract("events")).strategy is Strategy.APPEND
    plugin = next(plugin for plugin in registry.describe() if plugin.name == "lite")
    assert (plugin.distribution, plugin.version, plugin.value) == ("acme-lite", "1.0", "acme_lite")
    assert (plugin.aliases, plugin.strategies, plugin.status) == (("li",), ("append", "overwrite"), "ok")


def test_only_the_plugin_that_is_asked_for_is_imported(packages: Packages, tmp_path: Path) -> None:
    mark = tmp_path / "imported"
    packages.install(
        "acme-loud", {"acme_loud": f"open({str(mark)!r}, 'w')\nraise OSError"}, destinations={"loud": "acme_loud"}
    )
    registry = Registry()
    assert registry.resolve("s3") == "s3"
    assert registry.destination_type("s3").name == "s3"
    assert not mark.exists()
    assert registry.resolve("minio") == "s3"  # an alias makes it look everywhere, and the broken one does no harm
    assert mark.exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise OSError('disk on\\nfire')", "bad: plugin acme_bad does not load: disk on fire"),
        ("import sys; sys.exit(3)", "bad: plugin acme_bad does not load: 3"),
        ("def broken(:", "bad: plugin acme_bad does not load: invalid syntax"),
        ("import no_such_driver", "bad: module 'no_such_driver' is missing; pip install 'acme-bad'"),
        ("x = 1", "bad: plugin has no ownlens_destinations hook"),
        (
            "from ownlens_plugins import hookimpl\n@hookimpl\ndef ownlens_destination(): return []",
            "bad: plugin has a wrong hook:",
        ),
        (
            destination("bad") + "@hookimpl\ndef ownlens_transform(contract, frames): return None",
            "bad: plugin has a wrong hook:",
        ),
        (
            destination("bad") + "def ownlens_transform(contract, frame): return None",
            "bad: plugin has a wrong hook: ownlens_transform lacks the @hookimpl decorator",
        ),
        (destination("other"), "bad: ownlens_destinations() must return one Destination named 'bad'"),
        (
            destination("bad").replace("return [Thing]", "return [Thing, Thing]"),
            "bad: ownlens_destinations() must return one Destination named 'bad'",
        ),
        (
            destination("bad").replace("return [Thing]", "return None"),
            "bad: ownlens_destinations() failed: 'NoneType' object is not iterable",
        ),
        (
            destination("bad").replace("return [Thing]", "import no_such_driver"),
            "bad: module 'no_such_driver' is missing; pip install 'acme-bad'",
        ),
        (
            destination("bad").replace("(Destination[Config, DestinationOptions])", ""),
            "bad: ownlens_destinations() must return one Destination named 'bad'",
        ),
        (
            destination("bad").replace("def find_commit", "def find").replace("    strategies", "    strategy"),
            "bad: Thing does not define find_commit, strategies; report it",
        ),
        (destination("bad", api=">=2"), "bad: written for plugin API >=2, but this is 1.0; upgrade it"),
        (destination("bad", api="one"), "bad: api = 'one' is not a version specifier"),
    ],
)
def test_a_broken_plugin_is_one_line_and_stops_no_other(packages: Packages, code: str, message: str) -> None:
    packages.install("acme-bad", {"acme_bad": code}, destinations={"bad": "acme_bad"})
    assert problem_of("bad").startswith(message)


@pytest.mark.parametrize(
    ("alias", "message"),
    [
        ("minio", "bad: alias 'minio' of acme-bad is taken by s3 of ownlens; block one of them"),
        ("s3", "bad: alias 's3' of acme-bad is taken by s3 of ownlens; block one of them"),
        ("clickhouse", "bad: alias 'clickhouse' of acme-bad is the name of a destination of ownlens"),
    ],
)
def test_a_taken_alias_names_both_distributions(packages: Packages, alias: str, message: str) -> None:
    packages.install("acme-bad", {"acme_bad": destination("bad", aliases=(alias,))}, destinations={"bad": "acme_bad"})
    registry = Registry()
    registry.destination_type("s3")
    with pytest.raises(DestinationUnavailable) as caught:
        registry.destination_type("bad")
    assert str(caught.value) == message


def test_a_module_that_is_not_there_says_what_to_install(packages: Packages) -> None:
    packages.install("acme-bad", {}, destinations={"bad": "acme_nowhere"})
    assert problem_of("bad") == "bad: module 'acme_nowhere' is missing; pip install 'acme-bad'"


def test_a_built_in_without_its_driver_names_its_extra(packages: Packages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ownlens_clickhouse.destination", None)
    with pytest.raises(DestinationUnavailable, match=r"pip install 'ownlens\[clickhouse\]'"):
        Registry().destination_type("clickhouse")


def test_one_name_in_two_distributions_names_both(packages: Packages) -> None:
    for number in (1, 2):
        module = f"acme_{number}"
        packages.install(f"acme-{number}", {module: destination("lite")}, destinations={"lite": module})
    with pytest.raises(DestinationUnavailable, match=r"lite: both acme-[12] and acme-[12] provide") as caught:
        Registry()
    assert "acme-1" in str(caught.value)
    assert "acme-2" in str(caught.value)


def test_a_distribution_that_is_listed_twice_is_no_conflict(
    packages: Packages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages.install("acme-lite", {"acme_lite": destination("lite")}, destinations={"lite": "acme_lite"})
    again = Packages(tmp_path / "again")
    again.folder.mkdir()
    monkeypatch.syspath_prepend(again.folder)
    again.install("acme-lite", {}, destinations={"lite": "acme_lite"})
    assert Registry().destination_type("lite").name == "lite"


def test_an_alias_of_two_plugins_names_both_when_it_is_asked_for(packages: Packages) -> None:
    for name in ("aa", "bb"):
        module = f"acme_{name}"
        packages.install(f"acme-{name}", {module: destination(name, aliases=("fast",))}, destinations={name: module})
    with pytest.raises(DestinationUnavailable, match="alias 'fast' of acme-bb is taken by aa of acme-aa"):
        Registry().resolve("fast")
    assert Registry().resolve("postgres") == "postgresql"
    assert Registry().destination_type("bb").name == "bb"  # by its own name it is not ambiguous


def test_blocked_plugins_are_neither_named_nor_loaded(packages: Packages, monkeypatch: pytest.MonkeyPatch) -> None:
    packages.install("acme-lite", {"acme_lite": "raise OSError"}, destinations={"lite": "acme_lite"})
    monkeypatch.setenv("OWNLENS_PLUGINS_BLOCK", "lite, clickhouse")
    registry = Registry()
    assert not {"lite", "clickhouse"} & set(registry.names)
    with pytest.raises(DestinationUnavailable, match="lite: named in OWNLENS_PLUGINS_BLOCK"):
        registry.destination_type("lite")
    status = {plugin.name: plugin.status for plugin in registry.describe()}
    assert (status["lite"], status["clickhouse"], status["s3"]) == ("blocked", "blocked", "ok")


def test_only_the_listed_plugins_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWNLENS_PLUGINS_ONLY", "s3")
    registry = Registry()
    assert registry.names == ("s3",)
    with pytest.raises(DestinationUnavailable, match="clickhouse: not named in OWNLENS_PLUGINS_ONLY"):
        registry.destination_type("clickhouse")
    with pytest.raises(UnknownName):
        registry.resolve("ch")


@pytest.mark.parametrize(("name", "near"), [("postgress", "postgres"), ("clickhose", "clickhouse"), ("s4", "s3")])
def test_an_unknown_destination_names_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UnknownName, match=f"unknown destination {name!r}; did you mean '{near}"):
        Registry().resolve(name)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"pth": "x", "path": "y"}, "lite: connection settings: unknown option 'pth'; did you mean 'path'?"),
        ({}, "lite: connection settings: path: Field required"),
        ({"path": "x", "retries": "s3cr3t"}, "lite: connection settings: retries: Input should be a valid integer"),
    ],
)
def test_wrong_connection_settings_name_the_setting_and_no_value(
    packages: Packages, config: dict[str, str], message: str
) -> None:
    packages.install("acme-lite", {"acme_lite": destination("lite")}, destinations={"lite": "acme_lite"})
    with pytest.raises(DestinationUnavailable) as caught:
        Registry().create("lite", config)
    assert str(caught.value).startswith(message)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stratgy": "append"}, "samples: destinations.lite: unknown option 'stratgy'; did you mean 'strategy'?"),
        ({"strategy": "merge"}, "samples: destinations.lite: strategy: Input should be 'append'"),
        ({"strategy": "upsert"}, "strategy upsert is not offered; choose from append, overwrite"),
    ],
)
def test_wrong_options_name_table_destination_and_option(
    packages: Packages, options: dict[str, str], message: str
) -> None:
    packages.install("acme-lite", {"acme_lite": destination("lite")}, destinations={"lite": "acme_lite"})
    contract = sample_contract("entity", destinations={"lite": options})
    with pytest.raises(DestinationUnavailable) as caught:
        Registry().options("lite", contract)
    assert message in str(caught.value)
