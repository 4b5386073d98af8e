"""Install small third-party distributions for one test: metadata and modules in a folder on `sys.path`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

DESTINATION = """
from ownlens_plugins import Destination, DestinationOptions, Strategy, StrictModel, hookimpl

class Config(StrictModel):
    path: str
    retries: int = 1

class {cls}(Destination[Config, DestinationOptions]):
    name = "{name}"
    aliases = {aliases}
    api = "{api}"
    config_type = Config
    options_type = DestinationOptions
    strategies = frozenset({{Strategy.APPEND, Strategy.OVERWRITE}})

    def find_commit(self, plan):
        return None

    def open(self, plan):
        raise AssertionError("only listed, never loaded into")

    def read(self, plan):
        raise AssertionError("only listed, never loaded into")

@hookimpl
def ownlens_destinations():
    return [{cls}]
"""


def destination(name: str, *, aliases: tuple[str, ...] = (), api: str = ">=1,<2", cls: str = "Thing") -> str:
    """Return the source of a plugin module with one destination."""
    return DESTINATION.format(name=name, aliases=aliases, api=api, cls=cls)


@dataclass
class Packages:
    """A site folder. Every distribution gets a `.dist-info`, as pip would write it."""

    folder: Path
    modules: list[str] = field(default_factory=list)

    def install(
        self,
        distribution: str,
        modules: Mapping[str, str],
        *,
        destinations: Mapping[str, str] | None = None,
        hooks: Mapping[str, str] | None = None,
        version: str = "1.0",
    ) -> None:
        info = self.folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("".join(_section("destinations", destinations or {})) + _hooks(hooks))
        for name, code in modules.items():
            (self.folder / f"{name}.py").write_text(dedent(code), encoding="utf-8")
            self.modules.append(name)

    def forget(self) -> None:
        for name in self.modules:
            sys.modules.pop(name, None)


def _section(group: str, entries: Mapping[str, str]) -> Iterator[str]:
    yield f"[ownlens.{group}]\n"
    for name, module in entries.items():
        yield f"{name} = {module}\n"


def _hooks(entries: Mapping[str, str] | None) -> str:
    return "".join(_section("hooks", entries or {}))
