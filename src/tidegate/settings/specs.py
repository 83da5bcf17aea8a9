"""From the models of the file to the nouns of the domain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.server import (
    Command,
    Image,
    Launch,
    Mount,
    Package,
    Remote,
    Secret,
    ServerSpec,
    Timeouts,
    Transport,
)
from tidegate.settings import data, network
from tidegate.settings.checks import endpoint_path
from tidegate.settings.models import EndpointModel, FileModel
from tidegate.settings.network import NetworkModel
from tidegate.settings.roles import rules, scopes
from tidegate.settings.servers import (
    CommandServer,
    ImageServer,
    PackageServer,
    RemoteServer,
    split_package,
)
from tidegate.settings.tenants import declares_rights, tenants

AnyServer = ImageServer | CommandServer | PackageServer | RemoteServer


def server_specs(file: FileModel, base: Path) -> tuple[ServerSpec, ...]:
    """Give the declared servers, in the file's order."""
    specs = (_server(name, model, file.runtime, base) for name, model in file.servers.items())
    return tuple(replace(spec, peers=_peers(spec.name, file.servers)) for spec in specs)


def endpoint_specs(file: FileModel) -> tuple[EndpointSpec, ...]:
    """Give the declared endpoints; `/mcp` where none is. A tenant's own have none of other tenants' servers."""
    specs = tuple(_endpoint(path, model, file) for path, model in file.endpoints.items())
    owned = tenants(file.tenants, file.servers, [each.path for each in specs])
    return tuple(
        replace(spec, servers=tuple(each for each in spec.servers if owned.of_server(each) in (None, owner)))
        if (owner := owned.of_endpoint(spec.path)) is not None
        else spec
        for spec in specs
    )


def _server(name: str, model: AnyServer, runtime: str, base: Path) -> ServerSpec:
    launch, runtime = _launch(model, runtime, base)
    told = model.timeouts
    timeouts = Timeouts(told.start, told.call, told.idle, told.input)
    if isinstance(model, RemoteServer):
        return ServerSpec(
            name, launch, runtime, timeouts=timeouts, sharing=model.sharing, stateless=model.stateless,
            queue=model.queue.noun(), health=model.health.noun(), rollout=model.rollout.noun(),
        )  # fmt: skip
    given = model.limits
    return ServerSpec(
        name=name,
        launch=launch,
        runtime=runtime,
        env=dict(model.env),
        mounts=tuple(Mount(str(each.source), each.target, each.writable) for each in model.mounts),
        limits=replace(data.limits(given), message=given.message),
        timeouts=timeouts,
        network=network.noun(model.network),
        egress=tuple(dict.fromkeys(model.network.egress)) if isinstance(model.network, NetworkModel) else (),
        sharing=model.sharing,
        stateless=model.stateless,
        user=model.user,
        secrets={file: _secret(value) for file, value in model.secrets.items()},
        volumes=() if isinstance(model, CommandServer) else data.volumes(model.volumes),
        companions=() if isinstance(model, CommandServer) else data.companions(model.companions),
        replicas=model.replicas.noun(),
        scaling=model.scaling.noun(),
        queue=model.queue.noun(),
        health=model.health.noun(),
        rollout=model.rollout.noun(),
    )


def _peers(name: str, servers: Mapping[str, AnyServer]) -> tuple[str, ...]:
    """Give a server's peers, those that listen with their port."""
    model = servers[name]
    if isinstance(model, RemoteServer) or not isinstance(model.network, NetworkModel):
        return ()
    others = {each: servers[each] for each in dict.fromkeys(model.network.peers)}
    return tuple(
        f"{each}:{other.port}" if isinstance(other, ImageServer) and other.transport == "http" else each
        for each, other in others.items()
    )


def _launch(model: AnyServer, runtime: str, base: Path) -> tuple[Launch, str]:
    match model:
        case ImageServer():
            transport = Transport(model.transport)
            return Image(
                model.image, model.args, model.entrypoint, transport, model.port, model.path
            ), "docker"
        case CommandServer():
            return Command(_argv(model.command, base), model.unsandboxed), "process"
        case PackageServer():
            index, name, version = split_package(model.package)
            package = Package(index, name, version, model.requirements, model.executable, model.args)
            return package, model.runtime or runtime
        case RemoteServer():
            headers = {name: _secret(value) for name, value in model.headers.items()}
            return Remote(model.url, Transport(model.transport), headers), "remote"


def _argv(command: tuple[str, ...], base: Path) -> tuple[str, ...]:
    # A bare name is looked for by the runtime; a path is the file's, wherever the gateway was started.
    program = str(base / command[0]) if "/" in command[0] else command[0]
    return (program, *command[1:])


def _secret(value: str | Secret) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


def _endpoint(path: str, model: EndpointModel, file: FileModel) -> EndpointSpec:
    names = model.servers if model.servers is not None else tuple(file.servers)
    # Whoever says anything about rights means all of them: nothing is open by default then.
    said = not file.model_fields_set.isdisjoint(_RIGHTS) or declares_rights(file.tenants)
    default = () if said else EndpointSpec("", ()).rules
    return EndpointSpec(
        endpoint_path(path), names, model.tools, model.names,
        default if model.rules is None else rules(model.rules), model.prompts, model.resources, scopes(model.scopes),
    )  # fmt: skip


_RIGHTS = frozenset({"roles", "policies"})
