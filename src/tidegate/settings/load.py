"""Loading the settings file: from bytes to Settings, or to every mistake at once.

Reads the file, the environment it is given and the files that secrets are referred to in; starts,
resolves and imports nothing itself. What extensions there are comes in as an argument.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

from pydantic import BaseModel, ValidationError

from tidegate.domain.errors import SettingsError
from tidegate.domain.role import BUILT_IN
from tidegate.domain.tenant import HOME
from tidegate.settings.checks import check
from tidegate.settings.models import FileModel
from tidegate.settings.own_file import keep_from_servers
from tidegate.settings.policies import KIND as POLICIES
from tidegate.settings.policies import PolicySettings, policies
from tidegate.settings.problems import Path as PathInFile
from tidegate.settings.problems import Problem, explain, place, show
from tidegate.settings.quotas import quotas
from tidegate.settings.references import HERE, Known, Reference, wanted
from tidegate.settings.roles import roles
from tidegate.settings.secrets import LookUp
from tidegate.settings.settings import SecretsKept, Settings
from tidegate.settings.specs import endpoint_specs, server_specs
from tidegate.settings.tenants import owned, tenants
from tidegate.settings.tree import Node, Unreadable, read
from tidegate.settings.values import Around

MAX_FILE = 1024 * 1024


class Extensions(Protocol):
    """What extensions there are. The module `tidegate.extensions.table` is one."""

    def names(self, kind: str) -> Sequence[str]:
        """Give the names of the extensions of a kind, importing none."""
        ...

    def settings_model(self, kind: str, name: str) -> type[BaseModel]:
        """Give the model of an extension's settings.

        Raises:
            SettingsError: it cannot be loaded.
        """
        ...


def load(
    path: Path,
    extensions: Extensions,
    *,
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    look_up: LookUp | None = None,
) -> Settings:
    """Load a settings file. `overrides` (`{"listen": …, "logs.format": …}`) go before what it says.

    Without `look_up`, secrets that are kept elsewhere than in variables and files are left empty.

    Raises:
        SettingsError: one line for each mistake, with file, line and path.
    """
    text = read_text(path)
    base = Path(os.path.abspath(path)).parent
    settings = parse(
        text,
        base,
        extensions,
        name=str(path),
        overrides=overrides,
        environment=environment,
        look_up=look_up,
    )
    keep_from_servers(path, settings)
    return settings


def parse(
    text: str,
    base: Path,
    extensions: Extensions,
    *,
    name: str = "tidegate.yaml",
    overrides: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
    look_up: LookUp | None = None,
) -> Settings:
    """Read settings from text; relative paths in it are below `base`.

    Raises:
        SettingsError: one line for each mistake, with `name`, line and path.
    """
    root, mistakes = _tree(text, name)
    data = cast("dict[str, object]", root.plain())
    for dotted, value in (overrides or {}).items():
        _override(data, dotted, value)
    around = Around(base, os.environ if environment is None else environment)
    found: list[Problem] = []
    sources = _sections("secrets", data, extensions, around, found)
    around = replace(around, known=_known(data, sources, extensions, around, look_up, found))
    file: FileModel | None = None
    try:
        file = FileModel.model_validate(data, context=around)
    except ValidationError as error:
        found += [explain(each, FileModel) for each in error.errors(include_url=False)]
    found += check(data, extensions.names)
    runtimes = _sections("runtimes", data, extensions, around, found)
    engines = _policies(data, extensions, around, found)
    mistakes += _located(found, root, set(overrides or {}))
    if mistakes or file is None:
        raise SettingsError([_line(name, line, message) for line, message in sorted(mistakes)])
    kept = SecretsKept(base, file.secrets.refresh, sources, dict(around.known.used))
    return _settings(file, base, (runtimes, engines), kept)


@dataclass(frozen=True, slots=True)
class Places:
    """The directories that a settings file names."""

    state: Path
    shared: Path | None


def state_directory(path: Path) -> Path:
    """Give only the state directory that a settings file names.

    Raises:
        SettingsError: the file cannot be read, or does not say it rightly.
    """
    return places(path).state


def places(path: Path) -> Places:
    """Give only the directories that a settings file names: no secret in it needs to be there.

    Raises:
        SettingsError: the file cannot be read, or does not say them rightly.
    """
    root, _ = _tree(read_text(path), str(path))
    base = Path(os.path.abspath(path)).parent
    data = cast("dict[str, object]", root.plain())
    try:
        named = {"state": data.get("state"), "shared": data.get("shared")}
        only = FileModel.model_validate(named, context=Around(base, {}))
    except ValidationError as error:
        found = [explain(each, FileModel) for each in error.errors(include_url=False)]
        lines = [_line(str(path), line, message) for line, message in _located(found, root, set())]
        raise SettingsError(lines) from None
    return Places(only.state, only.shared)


def declared_roles(path: Path, tenant: str = "") -> tuple[str, ...]:
    """Give only the names of the roles that there are by a settings file, with those of a tenant's own.

    Raises:
        SettingsError: the file cannot be read.
    """
    root, _ = _tree(read_text(path), str(path))
    data = root.plain()
    own = _inner(_inner(_inner(data, "tenants"), tenant), "roles")
    return tuple(dict.fromkeys((*BUILT_IN, *_inner(data, "roles"), *own)))


def declared_tenants(path: Path) -> tuple[str, ...]:
    """Give only the names of the tenants that there are by a settings file; none where it declares none.

    Raises:
        SettingsError: the file cannot be read.
    """
    root, _ = _tree(read_text(path), str(path))
    named = _inner(root.plain(), "tenants")
    return tuple(dict.fromkeys((HOME, *named))) if named else ()


def own_servers(path: Path, tenant: str) -> tuple[str, ...]:
    """Give only the names of a tenant's own servers.

    Raises:
        SettingsError: the file cannot be read, or declares no such tenant.
    """
    data = _tree(read_text(path), str(path))[0].plain()
    declared = _inner(data, "tenants")
    if tenant not in (HOME, *declared):
        raise SettingsError(f"{path}: declares no tenant {tenant[:64]}")
    return owned(_inner(data, "servers"), _inner(declared, tenant))


def _inner(data: object, key: str) -> dict[str, object]:
    """Give the mapping that a mapping has at a key; an empty one where it has none."""
    found = cast("dict[str, object]", data).get(key) if isinstance(data, dict) else None
    return cast("dict[str, object]", found) if isinstance(found, dict) else {}


def secret_key_file(path: Path) -> Path | None:
    """Give only the file that a settings file names for the key of the encrypted store, where it names one.

    Raises:
        SettingsError: the file cannot be read.
    """
    root, _ = _tree(read_text(path), str(path))
    found: object = root.plain()
    for step in ("secrets", "secret", "key_file"):
        found = cast("dict[str, object]", found).get(step) if isinstance(found, dict) else None
    return Path(found) if isinstance(found, str) and found.startswith("/") else None


def read_text(path: Path) -> str:
    """Give the text of a settings file.

    Raises:
        SettingsError: it cannot be read, or is no text.
    """
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) and not stat.S_ISFIFO(
                os.fstat(file.fileno()).st_mode
            ):
                raise SettingsError(f"{path}: is not a file")
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise SettingsError(f"{path}: is a directory, not a settings file") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
        raise SettingsError(f"{path}: cannot be read: {why}") from None
    if len(data) > MAX_FILE:
        raise SettingsError(f"{path}: is larger than {MAX_FILE} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{path}:{line}: is not text (UTF-8)") from None


def _tree(text: str, name: str) -> tuple[Node, list[tuple[int, str]]]:
    try:
        tree = read(text)
    except Unreadable as error:
        raise SettingsError(_line(name, error.line, str(error))) from None
    root = tree.root
    if root is None or (root.entries is None and root.items is None and root.value is None):
        raise SettingsError(f"{name}: is empty")
    if root.entries is None:
        raise SettingsError(f"{name}:{root.line}: should be a mapping of settings at its top")
    return root, tree.problems


def _override(data: dict[str, object], dotted: str, value: object) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        if data.get(parent) is None:
            data[parent] = {}
        inner = data[parent]
        if not isinstance(inner, dict):
            return  # the models report it
        data = cast("dict[str, object]", inner)
    data[last] = value


def _sections(
    kind: str, data: dict[str, object], extensions: Extensions, around: Around, found: list[Problem]
) -> dict[str, BaseModel]:
    """Read the settings of extensions that stand at `kind` in the file."""
    models: dict[str, BaseModel] = {}
    value = data.get(kind)
    given = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    known = extensions.names(kind)
    for name, item in given.items():
        if name in known:  # others are found by `check`
            model = _section((kind, name), item, extensions, around, found)
            if model is not None:
                models[name] = model
    return models


def _section(
    at: tuple[str, str], item: object, extensions: Extensions, around: Around, found: list[Problem]
) -> BaseModel | None:
    return _extension(at, at, {} if item is None else item, extensions, around, found)


def _policies(
    data: dict[str, object], extensions: Extensions, around: Around, found: list[Problem]
) -> tuple[PolicySettings, ...]:
    def read(path: PathInFile, name: str, item: object) -> BaseModel | None:
        return _extension(path, (POLICIES, name), item, extensions, around, found)

    return policies(data.get(POLICIES), extensions.names(POLICIES), read, found)


def _extension(
    path: PathInFile,
    named: tuple[str, str],
    item: object,
    extensions: Extensions,
    around: Around,
    found: list[Problem],
) -> BaseModel | None:
    """Read the settings of the extension of this kind and name, which stand at `path`."""
    try:
        model = extensions.settings_model(*named)
    except SettingsError as error:
        found.append(Problem(path, str(error)))
        return None
    try:
        return model.model_validate(item, context=around)
    except ValidationError as error:
        found += [explain(each, model, path) for each in error.errors(include_url=False)]
        return None


def _known(
    data: dict[str, object],
    sources: dict[str, BaseModel],
    extensions: Extensions,
    around: Around,
    look_up: LookUp | None,
    found: list[Problem],
) -> Known:
    """Look the secrets up that servers, issuers and policies refer to and that are kept elsewhere."""
    kinds = tuple(kind for kind in extensions.names("secrets") if kind not in HERE)
    try:
        asked: Sequence[Reference] = wanted(
            [data.get("servers"), data.get("auth"), data.get(POLICIES)], kinds
        )
    except ValueError as error:
        found.append(Problem(("servers",), str(error)))
        return Known(kinds)
    for kind in dict.fromkeys(each.kind for each in asked):
        if kind not in sources and not any(problem.path[:2] == ("secrets", kind) for problem in found):
            model = _section(("secrets", kind), {}, extensions, around, found)
            if model is not None:
                sources[kind] = model
    if look_up is None or not all(each.kind in sources for each in asked):
        return Known(kinds)
    state = data.get("state")
    named = around.base / (state if isinstance(state, str) else ".tidegate")
    return Known(kinds, look_up(asked, sources, named.expanduser()))


def _located(found: list[Problem], root: Node, overridden: set[str]) -> list[tuple[int, str]]:
    located: list[tuple[int, str]] = []
    for problem in found:
        path = show(problem.path)
        # Line 0 stands for the command line, where a value was given in place of the file's.
        line = 0 if path in overridden else place(root, problem.path)
        message = f"{path}: {problem.message}" if path else problem.message
        if (line, message) not in located:
            located.append((line, message))
    return located


def _line(name: str, line: int, message: str) -> str:
    text = f"{name}:{line}: {message}" if line else f"command line: {message}"
    # Names in it are the file's: whatever they hold, a problem stays one line that a terminal can show.
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _settings(
    file: FileModel,
    base: Path,
    extensions: tuple[Mapping[str, BaseModel], tuple[PolicySettings, ...]],
    kept: SecretsKept,
) -> Settings:
    runtimes, engines = extensions
    endpoints = endpoint_specs(file)
    return Settings(
        listen=file.listen,
        public_url=file.public_url,
        trusted_proxies=file.trusted_proxies,
        forwarded_certificates=file.forwarded_certificates,
        allowed_hosts=file.allowed_hosts,
        allowed_origins=file.allowed_origins,
        tls=file.tls,
        outbound=file.outbound,
        state=file.state,
        shared=file.shared,
        auth=file.auth if isinstance(file.auth, tuple) else (file.auth,),
        dpop=file.dpop,
        quotas=quotas(file.quotas, {name: each.quotas for name, each in file.tenants.items()}),
        roles=roles(file.roles),
        policies=engines,
        tenants=tenants(file.tenants, file.servers, [each.path for each in endpoints]),
        admin=file.admin,
        journal=file.journal,
        logs=file.logs,
        reload=file.reload,
        limits=file.limits,
        secrets=kept,
        runtime=file.runtime,
        runtimes=runtimes,
        endpoints=endpoints,
        servers=server_specs(file, base),
    )
