"""What a good settings file becomes."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.unit.settings.given import BASE, EngineSettings, read
from tidegate.domain.endpoint import Effect, Names, Rule
from tidegate.domain.server import (
    Command,
    Image,
    Limits,
    Mount,
    Network,
    Package,
    Remote,
    Secret,
    Sharing,
    Timeouts,
    Transport,
)

WHOLE = """
    version: 1
    listen: "[::1]:9090"
    public_url: https://mcp.example.com/
    trusted_proxies: [10.0.0.0/8, "::1"]
    allowed_hosts: [MCP.internal, "other:8443"]
    allowed_origins: ["https://app.example.com"]
    tls: {certificate: cert.pem, key: /keys/key.pem}
    outbound: {proxy: "http://proxy:3128", ca_bundle: ca.pem}
    state: var
    auth: {type: keys}
    journal: {durability: fsync, segment_size: 1MiB}
    logs: {format: json, level: debug}
    limits: {body: 1MB, starts: 2}
    runtime: process
    runtimes:
      docker: {socket: "unix:///run/other.sock"}
      process:
    endpoints:
      /mcp:
      /claims/:
        servers: [vessels, time]
        tools: ["time__*"]
        prompts: ["vessels__*"]
        resources: ["vessels__file:///pub/{+path}?q=*"]
        names: plain
        rules:
          - deny: {tools: ["write_*"], servers: [vessels]}
          - deny: {prompts: ["p?"], resources: ["file:///pub/*.key"]}
          - allow: {roles: [admin]}
    servers:
      time:
        package: pypi:mcp-server-time==2026.10.19
        with: ["mcp<2"]
        executable: mcp-server-time
        args: [--local-timezone, UTC]
        runtime: docker
      vessels:
        image: registry.example.com/vessels@sha256:0000000000000000000000000000000000000000000000000000000000000000
        entrypoint: [/bin/serve]
        args: ["-v"]
        transport: http
        port: 9000
        path: /rpc
        env: {API_KEY: "${env:KEY}", MODE: fast, PRICE: "$${5}"}
        mounts: [{source: ./data, target: /data}, {source: /srv, target: /srv, writable: true}]
        limits: {memory: 1GiB, cpus: 0.5, pids: 10, tmp: 1048576, message: 1MiB}
        timeouts: {start: 5, call: 1m, idle: 0, input: 2m}
        network: open
        sharing: shared
        stateless: true
        user: "1000:1000"
      memory:
        package: npm:@modelcontextprotocol/server-memory@2026.8.31
      local:
        command: [bin/serve, --now]
        unsandboxed: true
      elsewhere:
        url: https://example.com/mcp?x=1
        transport: sse
        headers: {Authorization: "Bearer ${env:KEY}", X-Plain: text}
"""


def test_the_gateway_is_as_the_file_says() -> None:
    settings = read(WHOLE, KEY="k")
    assert (settings.listen.host, settings.listen.port) == ("::1", 9090)
    assert settings.public_url == settings.url == "https://mcp.example.com"
    assert settings.trusted_proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    assert settings.allowed_hosts == ("mcp.internal", "other:8443")
    assert settings.tls is not None
    assert (settings.tls.certificate, settings.tls.key) == (BASE / "cert.pem", Path("/keys/key.pem"))
    assert settings.outbound.ca_bundle == BASE / "ca.pem"
    assert settings.control_socket == BASE / "var" / "control.sock"
    assert (settings.journal.durability, settings.journal.segment_size) == ("fsync", 1024 * 1024)
    assert (settings.limits.body, settings.limits.starts, settings.limits.workloads) == (1_000_000, 2, 200)
    assert settings.runtimes["docker"] == EngineSettings(socket="unix:///run/other.sock")
    assert set(settings.runtimes) == {"docker", "process"}


def test_endpoints_show_the_servers_they_name_or_all_in_their_order() -> None:
    everything, claims = read(WHOLE, KEY="k").endpoints
    assert everything.path == "/mcp"
    assert everything.servers == ("time", "vessels", "memory", "local", "elsewhere")
    assert everything.rules == (Rule(Effect.ALLOW, frozenset({"user", "admin"})),)
    assert claims.path == "/claims"
    assert claims.servers == ("vessels", "time")
    assert (claims.tools, claims.names) == (("time__*",), Names.PLAIN)
    assert claims.prompts == ("vessels__*",)
    assert claims.resources == ("vessels__file:///pub/{+path}?q=*",)
    assert claims.rules == (
        Rule(Effect.DENY, frozenset(), ("vessels",), ("write_*",)),
        Rule(Effect.DENY, prompts=("p?",), resources=("file:///pub/*.key",)),
        Rule(Effect.ALLOW, frozenset({"admin"})),
    )


def test_each_way_to_launch_a_server_becomes_its_noun() -> None:
    time, vessels, memory, local, elsewhere = read(WHOLE, KEY="k").servers
    args = ("--local-timezone", "UTC")
    assert time.launch == Package(
        "pypi", "mcp-server-time", "2026.10.19", ("mcp<2",), "mcp-server-time", args
    )
    assert time.runtime == "docker"
    image = "registry.example.com/vessels@sha256:" + "0" * 64
    assert vessels.launch == Image(image, ("-v",), ("/bin/serve",), Transport.HTTP, 9000, "/rpc")
    assert vessels.runtime == "docker"
    assert memory.launch == Package("npm", "@modelcontextprotocol/server-memory", "2026.8.31")
    assert memory.runtime == "process"
    assert local.launch == Command((str(BASE / "bin/serve"), "--now"), unsandboxed=True)
    assert local.runtime == "process"
    headers = {"Authorization": Secret("Bearer k"), "X-Plain": Secret("text")}
    assert elsewhere.launch == Remote("https://example.com/mcp?x=1", Transport.SSE, headers)
    assert elsewhere.runtime == "remote"


def test_what_a_server_is_given_is_what_was_declared() -> None:
    vessels = read(WHOLE, KEY="k").servers[1]
    assert vessels.env == {"API_KEY": Secret("k"), "MODE": "fast", "PRICE": "${5}"}
    assert vessels.mounts == (Mount(str(BASE / "data"), "/data"), Mount("/srv", "/srv", writable=True))
    assert vessels.limits == Limits(1024**3, 0.5, 10, 1024**2, 1024**2)
    assert vessels.timeouts == Timeouts(5, 60, 0, 120)
    assert (vessels.network, vessels.sharing, vessels.stateless) == (Network.OPEN, Sharing.SHARED, True)
    assert vessels.user == "1000:1000"


def test_what_is_not_said_has_the_safe_default() -> None:
    settings = read("servers: {time: {package: 'pypi:t==1'}}")
    assert str(settings.listen) == "127.0.0.1:8080"
    assert settings.url == "http://127.0.0.1:8080"
    assert [each.type for each in settings.auth] == ["local"]
    assert settings.local
    assert settings.state == BASE / ".tidegate"
    assert [each.path for each in settings.endpoints] == ["/mcp"]
    (time,) = settings.servers
    assert time.runtime == "auto"
    assert (time.network, time.sharing, time.stateless) == (Network.NONE, Sharing.PRINCIPAL, False)
    assert time.limits == Limits()
    assert time.timeouts == Timeouts()


def test_keys_without_a_value_have_their_default() -> None:
    settings = read("listen:\nlimits:\nservers:\nendpoints:\n  /mcp:\n")
    assert settings.listen.port == 8080
    assert settings.servers == ()


def test_words_that_older_yaml_took_for_something_else_stay_text() -> None:
    (server,) = read("servers: {on: {command: [x, yes, 1:30, 2026-01-01, 0x10, 'null']}}").servers
    assert server.name == "on"
    assert isinstance(server.launch, Command)
    assert server.launch.argv == ("x", "yes", "1:30", "2026-01-01", "0x10", "null")


def test_an_alias_stands_for_a_whole_value() -> None:
    one, two = read(
        """
        servers:
          one: {command: [x], limits: &small {memory: 64MiB}}
          two: {command: [y], limits: *small}
        """
    ).servers
    assert one.limits == two.limits
    assert two.limits.memory == 64 * 1024 * 1024


def test_a_program_found_by_name_is_left_to_be_found() -> None:
    (server,) = read("servers: {a: {command: [python3, server.py]}}").servers
    assert isinstance(server.launch, Command)
    assert server.launch.argv == ("python3", "server.py")


@pytest.mark.parametrize(
    ("text", "served"),
    [
        ("", False),
        ("auth: {type: keys}", True),
        ("admin: {enabled: true}", True),
        ("auth: {type: keys}\nadmin: {enabled: false}", False),
    ],
)
def test_the_admin_api_is_served_where_keys_are_asked_for_or_it_is_said(text: str, served: bool) -> None:
    assert read(f"{text}\nservers: {{a: {{command: [x]}}}}").admin_api is served
