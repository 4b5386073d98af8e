"""Find, check and load destinations by their entry points."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import ValidationError

from .api import API_VERSION, Destination, DestinationOptions, LoadPlan, LoadResult
from .contracts.contract import TableContract
from .errors import DestinationUnavailable, OwnLensError, UnknownName
from .hookspecs import PROJECT, Hooks

GROUP = "ownlens.destinations"
# Packages that bring transforms or observers, but no destination.
HOOKS_GROUP = "ownlens.hooks"
logger = logging.getLogger("ownlens.registry")
AnyDestination = Destination[Any, Any]


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One installed plugin, as `ownlens plugins` lists it."""

    name: str
    distribution: str
    version: str
    value: str
    aliases: tuple[str, ...]
    strategies: tuple[str, ...]
    status: str
    problem: str


class Registry:
    """The installed destinations. Only the plugins that are asked for are imported."""

    def __init__(self, entries: Iterable[EntryPoint] | None = None) -> None:
        found = entry_points(group=GROUP) if entries is None else entries
        self._entries = _by_name(found)
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(Hooks)
        self._loaded: dict[str, type[AnyDestination]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all destinations that are installed and not blocked."""
        return tuple(name for name in self._entries if _blocked(name) is None)

    def resolve(self, name: str) -> str:
        """Return the destination name for a name or an alias.

        Raises:
            UnknownName: no installed destination answers to it.
            DestinationUnavailable: two plugins claim the alias.
        """
        return name if name in self._entries else self._resolve_alias(name)

    def _resolve_alias(self, name: str) -> str:
        owners = {alias: owner for owner in self.names for alias in self._aliases(owner, asked=name)}
        if name not in owners:
            raise UnknownName("destination", name, [*self.names, *owners])
        return owners[name]

    def _aliases(self, name: str, *, asked: str) -> tuple[str, ...]:
        try:
            return self.destination_type(name).aliases
        except _AliasTaken as error:
            if error.alias == asked:
                raise
            return ()
        except DestinationUnavailable:
            return ()

    def destination_type(self, name: str) -> type[AnyDestination]:
        """Import a destination's plugin and return its class, checked.

        Raises:
            UnknownName: not installed.
            DestinationUnavailable: blocked, or the plugin does not load or breaks a rule.
        """
        if name not in self._entries:
            raise UnknownName("destination", name, self.names)
        if name not in self._loaded:
            self._loaded[name] = self._load(name, self._entries[name])
        return self._loaded[name]

    def create(self, name: str, config: Mapping[str, Any]) -> AnyDestination:
        """Build a destination from its connection settings.

        Raises:
            DestinationUnavailable: the settings do not fit the destination's `config_type`.
        """
        cls = self.destination_type(name)
        try:
            return cls(cls.config_type.model_validate(dict(config)))
        except ValidationError as error:
            raise DestinationUnavailable(_settings_problem(name, cls, error)) from None

    def options(self, name: str, contract: TableContract) -> DestinationOptions:
        """Return a contract's options for a destination, checked by the destination.

        Raises:
            DestinationUnavailable: an option is unknown or wrong, or the strategy is not offered.
        """
        cls = self.destination_type(name)
        where = f"{contract.table}: destinations.{name}"
        try:
            options = cls.options_type.model_validate(contract.options_for(name))
        except ValidationError as error:
            raise DestinationUnavailable(f"{where}: {_all_problems(error, cls.options_type)}") from None
        if options.strategy not in cls.strategies:
            offered = ", ".join(sorted(cls.strategies))
            raise DestinationUnavailable(f"{where}: strategy {options.strategy} is not offered; choose from {offered}")
        return options

    def transform(self, contract: TableContract, frame: Any) -> Any:
        """Pass a frame through every plugin's `ownlens_transform`, in the order of the plugins' names.

        Plugins that return None leave the frame as it is; `tryfirst` and `trylast` move one to either end.
        """
        for impl in _in_order(self._manager.hook.ownlens_transform.get_hookimpls()):
            changed = _call(impl, contract=contract, frame=frame)
            frame = frame if changed is None else changed
        return frame

    @property
    def has_transforms(self) -> bool:
        return bool(self._manager.hook.ownlens_transform.get_hookimpls())

    def finished(self, plan: LoadPlan, result: LoadResult) -> None:
        """Tell every observer about a committed load. Their errors are logged, never raised."""
        for impl in _in_order(self._manager.hook.ownlens_load_finished.get_hookimpls()):
            try:
                _call(impl, plan=plan, result=result)
            except Exception:
                logger.exception("observer %s failed after load %s", impl.plugin_name, plan.load_id)

    def load_hooks(self) -> None:
        """Load the packages that offer transforms or observers; each must load, or rows would differ in silence.

        Raises:
            DestinationUnavailable: one of them does not load or has a wrong hook.
        """
        for name, entry in _by_name(entry_points(group=HOOKS_GROUP)).items():
            if _blocked(name) is None:
                self._register(_import(name, entry), f"{HOOKS_GROUP}.{name}")

    def register(self, plugin: object, name: str) -> None:
        """Add hooks that are not installed as a package, such as an application's own transforms.

        Raises:
            DestinationUnavailable: a hook's name or arguments are unknown.
        """
        self._register(plugin, name)

    def describe(self) -> list[PluginInfo]:
        """Load every plugin and return what is known of it, broken and blocked ones included."""
        return [self._info(name, entry) for name, entry in self._entries.items()]

    def _info(self, name: str, entry: EntryPoint) -> PluginInfo:
        dist, version = _owner(entry)
        if reason := _blocked(name):
            return PluginInfo(name, dist, version, entry.value, (), (), "blocked", reason)
        try:
            cls = self.destination_type(name)
        except OwnLensError as error:
            return PluginInfo(name, dist, version, entry.value, (), (), "failed", str(error))
        strategies = tuple(sorted(strategy.value for strategy in cls.strategies))
        return PluginInfo(name, dist, version, entry.value, cls.aliases, strategies, "ok", "")

    def _load(self, name: str, entry: EntryPoint) -> type[AnyDestination]:
        if reason := _blocked(name):
            raise DestinationUnavailable(f"{name}: {reason}")
        module = _import(name, entry)
        known = self._manager.is_registered(module)
        self._register(module, name)
        try:
            return self._checked(name, _only_class(name, module, entry), entry)
        except DestinationUnavailable:
            if not known:
                self._manager.unregister(module)
            raise

    def _checked(self, name: str, cls: type[AnyDestination], entry: EntryPoint) -> type[AnyDestination]:
        _check_api(name, cls)
        for alias in cls.aliases:
            self._check_alias(name, alias, entry)
        return cls

    def _register(self, plugin: object, name: str) -> None:
        # One module may stand in both groups; it is registered, and called, once.
        if self._manager.is_registered(plugin):
            return
        _check_marked(plugin, name)
        try:
            self._manager.register(plugin, name=name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            if self._manager.is_registered(plugin):
                self._manager.unregister(plugin)
            raise DestinationUnavailable(f"{name}: plugin has a wrong hook: {_line(error)}") from error

    def _check_alias(self, name: str, alias: str, entry: EntryPoint) -> None:
        for other, cls in self._loaded.items():
            if alias == other or alias in cls.aliases:
                theirs, ours = _owner(self._entries[other])[0], _owner(entry)[0]
                raise _AliasTaken(
                    alias, f"{name}: alias {alias!r} of {ours} is taken by {other} of {theirs}; block one of them"
                )
        if alias in self._entries:
            theirs, ours = _owner(self._entries[alias])[0], _owner(entry)[0]
            raise _AliasTaken(alias, f"{name}: alias {alias!r} of {ours} is the name of a destination of {theirs}")


class _AliasTaken(DestinationUnavailable):
    """Two plugins claim one alias; the message names both distributions."""

    def __init__(self, alias: str, message: str) -> None:
        super().__init__(message)
        self.alias = alias

    def __reduce__(self) -> tuple[Any, ...]:
        return DestinationUnavailable, (str(self),)


def _by_name(entries: Iterable[EntryPoint]) -> dict[str, EntryPoint]:
    named: dict[str, EntryPoint] = {}
    for entry in sorted(entries, key=lambda entry: entry.name):
        # An editable install can list one distribution twice; two distributions are a conflict.
        if entry.name in named and _owner(named[entry.name]) != _owner(entry):
            first, second = _owner(named[entry.name])[0], _owner(entry)[0]
            raise DestinationUnavailable(
                f"{entry.name}: both {first} and {second} provide a plugin of this name; uninstall one of them"
            )
        named[entry.name] = entry
    return named


def _owner(entry: EntryPoint) -> tuple[str, str]:
    return ("unknown", "") if entry.dist is None else (entry.dist.name, entry.dist.version)


def _blocked(name: str) -> str | None:
    only = _listed("OWNLENS_PLUGINS_ONLY")
    if only and name not in only:
        return "not named in OWNLENS_PLUGINS_ONLY"
    return "named in OWNLENS_PLUGINS_BLOCK" if name in _listed("OWNLENS_PLUGINS_BLOCK") else None


def _listed(variable: str) -> set[str]:
    return {name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()}


def _import(name: str, entry: EntryPoint) -> object:
    try:
        return entry.load()
    except ModuleNotFoundError as error:
        raise DestinationUnavailable(_install_line(name, entry, error)) from error
    except (Exception, SystemExit) as error:
        raise DestinationUnavailable(f"{name}: plugin {entry.value} does not load: {_line(error)}") from error


def _install_line(name: str, entry: EntryPoint, error: ModuleNotFoundError) -> str:
    dist = _owner(entry)[0]
    package = f"ownlens[{name}]" if dist == "ownlens" else dist
    return f"{name}: module {error.name!r} is missing; pip install '{package}'"


def _check_marked(plugin: object, name: str) -> None:
    # pluggy passes over functions without its marker, so a forgotten decorator would mean a hook that never runs.
    for attribute in dir(plugin):
        hook = getattr(plugin, attribute, None)
        if attribute.startswith(f"{PROJECT}_") and inspect.isroutine(hook) and not hasattr(hook, f"{PROJECT}_impl"):
            raise DestinationUnavailable(f"{name}: plugin has a wrong hook: {attribute} lacks the @hookimpl decorator")


def _only_class(name: str, module: object, entry: EntryPoint) -> type[AnyDestination]:
    hook = getattr(module, "ownlens_destinations", None)
    if hook is None:
        raise DestinationUnavailable(f"{name}: plugin has no ownlens_destinations hook")
    try:
        classes: Sequence[type[AnyDestination]] = list(hook())
    except ModuleNotFoundError as error:
        raise DestinationUnavailable(_install_line(name, entry, error)) from error
    except Exception as error:
        raise DestinationUnavailable(f"{name}: ownlens_destinations() failed: {_line(error)}") from error
    matching = [cls for cls in classes if _is_destination(cls) and getattr(cls, "name", None) == name]
    if len(matching) != 1:
        raise DestinationUnavailable(f"{name}: ownlens_destinations() must return one Destination named {name!r}")
    _check_complete(name, matching[0])
    return matching[0]


def _is_destination(value: object) -> bool:
    return inspect.isclass(value) and issubclass(value, Destination)


def _check_complete(name: str, cls: type[AnyDestination]) -> None:
    declared = ("config_type", "options_type", "strategies")
    missing = [*sorted(cls.__abstractmethods__), *(attribute for attribute in declared if not hasattr(cls, attribute))]
    if missing:
        raise DestinationUnavailable(f"{name}: {cls.__name__} does not define {', '.join(missing)}; report it")


def _check_api(name: str, cls: type[AnyDestination]) -> None:
    try:
        fits = API_VERSION in SpecifierSet(cls.api)
    except InvalidSpecifier:
        raise DestinationUnavailable(f"{name}: api = {cls.api!r} is not a version specifier") from None
    if not fits:
        raise DestinationUnavailable(f"{name}: written for plugin API {cls.api}, but this is {API_VERSION}; upgrade it")


def _settings_problem(name: str, cls: type[AnyDestination], error: ValidationError) -> str:
    return f"{name}: connection settings: {_all_problems(error, cls.config_type)}"


def _all_problems(error: ValidationError, model: Any) -> str:
    found = error.errors(include_url=False, include_input=False)
    return "; ".join(dict.fromkeys(_problem(problem, model) for problem in found))


def _problem(problem: Any, model: Any) -> str:
    where = ".".join(str(step) for step in problem["loc"]) or "settings"
    if problem["type"] == "extra_forbidden":
        return str(UnknownName("option", where, model.model_fields))
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _in_order(impls: Iterable[Any]) -> list[Any]:
    # By the plugins' names, as they were registered; pluggy itself calls the last one first.
    return sorted(impls, key=lambda impl: 0 if impl.tryfirst else 2 if impl.trylast else 1)


def _call(impl: Any, **values: Any) -> Any:
    # A hook may ask for fewer arguments than its specification has; pluggy's own call stops at the first error.
    return impl.function(*(values[name] for name in impl.argnames))
