"""Transforms and observers of installed packages."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ownlens_plugins import LoadPlan, LoadResult, hookimpl
from ownlens_plugins.errors import DestinationUnavailable
from ownlens_plugins.registry import Registry
from ownlens_plugins.testing import make_plan, sample_contract, sample_rows, sample_table

from .packages import Packages, destination

IMPORT = "from ownlens_plugins import hookimpl\n"
UPPER = IMPORT + "@hookimpl\ndef ownlens_transform(contract, frame): return frame.upper()\n"


def plan_and_result(folder: Path) -> tuple[LoadPlan, LoadResult]:
    contract = sample_contract("events")
    registry = Registry()
    plan = make_plan(registry.destination_type("s3"), contract, sample_table(contract, sample_rows(3)), folder)
    return plan, LoadResult(plan.load_id, plan.digest, rows=3, inserted=3)


def test_hooks_of_a_package_without_destination_are_loaded_on_request(packages: Packages) -> None:
    packages.install("acme-upper", {"acme_upper": UPPER}, hooks={"upper": "acme_upper"})
    registry = Registry()
    assert not registry.has_transforms
    registry.load_hooks()
    registry.load_hooks()
    assert registry.has_transforms
    assert registry.transform(sample_contract(), "rows") == "ROWS"
    assert "upper" not in registry.names


def test_transforms_follow_one_another_and_none_leaves_the_frame(packages: Packages) -> None:
    leave = IMPORT + "@hookimpl\ndef ownlens_transform(frame): return None\n"
    double = IMPORT + "@hookimpl\ndef ownlens_transform(contract, frame): return frame + contract.table + frame\n"
    last = IMPORT + "@hookimpl(trylast=True)\ndef ownlens_transform(frame): return frame + '.'\n"
    first = IMPORT + "@hookimpl(tryfirst=True)\ndef ownlens_transform(frame): return frame + 'y'\n"
    for name, code in {"a": last, "b": leave, "c": UPPER, "d": double, "e": first}.items():
        packages.install(f"acme-{name}", {f"acme_{name}": code}, hooks={name: f"acme_{name}"})
    registry = Registry()
    registry.load_hooks()
    assert registry.transform(sample_contract(), "x") == "XYsamplesXY."


def test_one_module_may_offer_a_destination_and_hooks(packages: Packages) -> None:
    code = destination("lite") + "@hookimpl\ndef ownlens_transform(contract, frame): return frame + '!'\n"
    packages.install("acme-lite", {"acme_lite": code}, destinations={"lite": "acme_lite"}, hooks={"lite": "acme_lite"})
    for first in ("load_hooks", "destination_type"):
        registry = Registry()
        if first == "load_hooks":
            registry.load_hooks()
        registry.destination_type("lite")
        registry.load_hooks()
        assert registry.transform(sample_contract(), "rows") == "rows!"


def test_a_destination_and_hooks_of_another_package_may_share_a_name(packages: Packages) -> None:
    packages.install("acme-lite", {"acme_lite": destination("lite")}, destinations={"lite": "acme_lite"})
    packages.install("acme-upper", {"acme_upper": UPPER}, hooks={"lite": "acme_upper"})
    registry = Registry()
    registry.destination_type("lite")
    registry.load_hooks()
    assert registry.transform(sample_contract(), "rows") == "ROWS"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import no_such_module", "bad: module 'no_such_module' is missing; pip install 'acme-bad'"),
        ("raise OSError('no')", "bad: plugin acme_bad does not load: no"),
        (IMPORT + "@hookimpl\ndef ownlens_transfrom(contract, frame): ...", "plugin has a wrong hook:"),
        ("def ownlens_load_finished(plan, result): ...", "ownlens_load_finished lacks the @hookimpl decorator"),
    ],
)
def test_hooks_that_do_not_load_stop_the_run(packages: Packages, code: str, message: str) -> None:
    packages.install("acme-bad", {"acme_bad": code}, hooks={"bad": "acme_bad"})
    with pytest.raises(DestinationUnavailable) as caught:
        Registry().load_hooks()
    assert message in str(caught.value)
    assert str(caught.value).count("bad") >= 1


def test_blocked_hooks_are_not_loaded(packages: Packages, monkeypatch: pytest.MonkeyPatch) -> None:
    packages.install("acme-bad", {"acme_bad": "raise OSError"}, hooks={"bad": "acme_bad"})
    monkeypatch.setenv("OWNLENS_PLUGINS_BLOCK", "bad")
    registry = Registry()
    registry.load_hooks()
    assert not registry.has_transforms


def test_two_packages_with_hooks_of_one_name_name_both(packages: Packages) -> None:
    for number in (1, 2):
        packages.install(f"acme-{number}", {f"acme_{number}": UPPER}, hooks={"upper": f"acme_{number}"})
    with pytest.raises(DestinationUnavailable, match=r"upper: both acme-[12] and acme-[12] provide a plugin"):
        Registry().load_hooks()


def test_an_observer_that_raises_is_logged_and_the_others_are_told(
    packages: Packages, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard = tmp_path / "heard"
    raising = IMPORT + "@hookimpl\ndef ownlens_load_finished(plan, result): raise OSError('metrics are down')\n"
    writing = IMPORT + (
        f"@hookimpl\ndef ownlens_load_finished(result, plan): open({str(heard)!r}, 'a').write(plan.load_id)\n"
    )
    for name, code in {"a": writing, "b": raising, "c": writing}.items():
        packages.install(f"acme-{name}", {f"acme_{name}": code}, hooks={name: f"acme_{name}"})
    registry = Registry()
    registry.load_hooks()
    with caplog.at_level(logging.ERROR, logger="ownlens.registry"):
        registry.finished(*plan_and_result(tmp_path))
    assert heard.read_text() == "samples/00000001" * 2
    assert "failed after load samples/00000001" in caplog.text
    assert "metrics are down" in caplog.text


def test_an_application_registers_its_own_hooks() -> None:
    class Mine:
        @hookimpl
        def ownlens_transform(self, frame: str) -> str:
            return frame * 2

    class Wrong:
        @hookimpl
        def ownlens_transformed(self, frame: str) -> str:
            return frame

    registry = Registry()
    registry.register(Mine(), "mine")
    assert registry.transform(sample_contract(), "ab") == "abab"
    with pytest.raises(DestinationUnavailable, match="wrong: plugin has a wrong hook"):
        registry.register(Wrong(), "wrong")
    assert registry.transform(sample_contract(), "ab") == "abab"
