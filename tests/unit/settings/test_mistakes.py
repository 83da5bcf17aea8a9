"""What is said of a settings file with mistakes: all of them, with line, path and the known words."""

from __future__ import annotations

import pytest

from tests.unit.settings.given import mistakes, only_mistake, read

SERVER = "servers: {time: {package: 'pypi:t==1'}}\n"


def test_every_mistake_is_told_at_once_in_the_order_of_the_file() -> None:
    found = mistakes(
        """
        lisen: 1
        limits: {starts: 0, body: many}
        endpoints:
          /mcp: {servers: [tiem], names: prefix}
        servers:
          time: {package: "pypi:t==1", limits: {memry: 1GiB}, timeouts: {call: soon}}
          time: {url: "https://example.com"}
        """
    )
    assert [line.split(": ")[0:2] for line in found] == [
        ["2", "lisen"],
        ["3", "limits.body"],
        ["3", "limits.starts"],
        ["5", "endpoints./mcp.names"],
        ["5", "endpoints./mcp.servers[0]"],
        ["7", "servers.time.limits.memry"],
        ["7", "servers.time.timeouts.call"],
        ["8", "the key time stands here a second time (first in line 7)"],
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lisen: x", "1: lisen: is no known key; did you mean listen? (known: admin, allowed_hosts, "),
        (SERVER + "endpoints: {/a: {servers: [tme]}}", "there is no server tme; did you mean time? (known: time)"),
        (SERVER + "runtime: doker", "there is no runtime doker; did you mean docker? (known: auto, broken, docker, process)"),
        ("runtimes: {dcker: {}}", "runtimes.dcker: there is no runtime dcker; did you mean docker?"),
        ("runtimes: {docker: {sockt: x}}", "runtimes.docker.sockt: is no known key; did you mean socket? (known: socket, starts)"),
        ("runtimes: {docker: {starts: 0}}", "runtimes.docker.starts: should be greater than or equal to 1"),
        ("runtimes: {broken: {}}", "runtimes.broken: the extension broken cannot be loaded"),
        ("runtimes: {docker: 3}", "runtimes.docker: should be a mapping, is a number"),
        ("servers: {a: {package: 'pypi:t==1', runtime: dockr}}", "servers.a.runtime: there is no runtime dockr"),
        ("servers: {a: {command: [x], network: opn}}", "servers.a.network: is none of the known words; did you mean open? (known: none, open)"),
        ("journal: {durability: 1}", "journal.durability: should be write or fsync, is a number"),
        ("version: 2", "version: should be 1"),
    ],
)  # fmt: skip
def test_unknown_words_are_answered_with_the_known_ones(text: str, said: str) -> None:
    assert said in only_mistake(text)


@pytest.mark.parametrize(
    ("server", "said"),
    [
        ("{args: [x]}", "exactly one of image, command, package, url is needed"),
        ("{image: x, url: 'http://h'}", "url: exactly one of image, command, package, url is needed; image is there already"),
        ("{image: x, with: [y]}", "with: does not go with image (goes with: package)"),
        ("{command: [x], args: [y]}", "args: does not go with command (goes with: image, package)"),
        ("{url: 'http://h', mounts: []}", "mounts: does not go with url (goes with: image, command, package)"),
        ("{image: x, port: 80}", "port: goes with transport: http only"),
        ("{image: x, transport: sse}", "transport: is none of the known words (known: http, stdio)"),
        ("{package: 'npm:x@1.0.0', with: [y]}", "with: goes with packages of pypi only"),
        ("{package: 'pypi:x'}", "package: should be pinned: pypi:NAME==VERSION or npm:NAME@VERSION"),
        ("{package: 'pypi:x==1', with: ['-r evil']}", "with[0]: should be a requirement"),
        ("{image: }", "image: should be text, is empty"),
        ("{image: '--privileged'}", "image: should be the name of a container image"),
        ("{command: []}", "command: should not be empty"),
        ("{command: x}", "command: should be a list, is text"),
        ("{command: [x, 8080]}", "command[1]: should be text, is a number; write it in quotes"),
        ("{command: [x], user: 0:0}", "user: should be \"uid\" or \"uid:gid\" in digits, and not 0"),
        ("{command: [x], env: {A-B: x}}", "env: holds a name that is none for a variable"),
        ("{command: [x], env: {A: 1}}", "env.A: should be text; write it in quotes"),
        ("{command: [x], limits: {cpus: .inf}}", "limits.cpus: should be a number, is text"),
        ("{command: [x], limits: {pids: true}}", "limits.pids: should be a whole number, is true or false"),
        ("{command: [x], limits: {memory: 1}}", "limits.memory: should be greater than or equal to 4194304"),
        ("{command: [x], timeouts: {call: 0}}", "timeouts.call: should be greater than 0"),
        ("{command: [x], timeouts: {input: 1h}}", "timeouts.input: should be less than or equal to 900"),
        ("{command: [x], mounts: [{source: a, target: b}]}", "mounts[0].target: should be an absolute path"),
        ("{command: [x], mounts: [{source: a, target: /../etc}]}", "mounts[0].target: should be an absolute path"),
        ("{command: [x], mounts: [{source: a, target: /proc/1}]}", "mounts[0].target: should not be under /proc"),
        ("{command: [x], mounts: [{source: a}]}", "mounts[0].target: is needed"),
        ("{command: [x], mounts: [{source: a, target: /a}, {source: b, target: /a}]}", "mounts[1].target: is the target of another mount"),
        ("{url: 'ftp://h'}", "url: should be a URL that begins with http:// or https://"),
        ("{url: 'https://u:p@h/'}", "url: should hold no user or password"),
        ("{url: 'http://h', headers: {Host: x}}", "headers: holds Host, which the gateway sets itself"),
        ("{url: 'http://h', headers: {mcp-name: x}}", "headers: holds mcp-name, which the gateway sets itself"),
        ("{url: 'http://h', headers: {A: x, a: y}}", "headers: holds a header twice, in different case"),
        ('{url: "http://h", headers: {A: "x\\nB: y"}}', "headers: holds a line break"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_be_is_told_of(server: str, said: str) -> None:
    found = mistakes("servers:\n  a: " + server)
    assert len(found) == 1, found
    assert found[0].startswith("2: ")
    assert said in found[0]


@pytest.mark.parametrize("name", ["Big", "a__b", "-a", "a-", "a_b", "a" * 33, '"a b"', '""'])
def test_a_name_that_no_tool_could_carry_is_refused(name: str) -> None:
    assert "is no name for a server" in only_mistake(f"servers:\n  {name}: {{command: [x]}}")


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ("{mcp: {}}", "should be a path such as /mcp"),
        ("{/: {}}", "should be a path such as /mcp"),
        ("{/a/../b: {}}", "should be a path such as /mcp"),
        ("{/a b: {}}", "should be a path such as /mcp"),
        ("{/mcp: {}, /mcp/: {}}", "endpoints./mcp/: is the same path as /mcp"),
        ("{/healthz: {}}", "is a path of the gateway's own"),
        ("{/.well-known/x: {}}", "is a path of the gateway's own"),
        ("{/v1: {}}", "is a path of the gateway's own"),
        ("{}", "endpoints: should not be empty"),
        ("{/a: {rules: [{}]}}", "rules[0]: a rule has exactly one of allow and deny"),
        ("{/a: {rules: [{deny: }]}}", "rules[0]: a rule has exactly one of allow and deny"),
        ("{/a: {rules: [{allow: {}, deny: {}}]}}", "rules[0]: a rule has exactly one of allow and deny"),
        ("{/a: {rules: [{allow: {servers: [nine]}}]}}", "rules[0].allow.servers[0]: there is no server nine"),
        ("{/a: {rules: [{allow: {roles: [usr]}}]}}", "roles[0]: there is no role usr; did you mean user? (known: admin, user)"),
        ("{/a: {servers: [time, time]}}", "servers[1]: names time a second time"),
        ("{/a: {tools: ['']}}", "tools[0]: should not be empty"),
        ("{/a: {tools: ['a b']}}", "tools[0]: should be a name or a pattern"),
        ("{/a: {resources: ['file:///a b']}}", "resources[0]: should be a URI or a pattern of one"),
        ("{/a: {rules: [{allow: {resources: ['ü:*']}}]}}", "resources[0]: should be a URI or a pattern of one"),
    ],
)  # fmt: skip
def test_an_endpoint_that_cannot_be_is_told_of(paths: str, said: str) -> None:
    assert said in only_mistake(SERVER + "endpoints: " + paths)


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "'[::]:8080'", "192.168.1.2:80", "example.com:80"])
def test_listening_beyond_loopback_needs_authentication(listen: str) -> None:
    assert "is beyond loopback and needs auth other than local" in only_mistake(f"listen: {listen}")
    assert not read(f"listen: {listen}\nauth: {{type: keys}}").listen.loopback


@pytest.mark.parametrize("listen", ["127.0.0.1:1", "127.9.9.9:1", "'[::1]:1'", "localhost:1"])
def test_loopback_needs_none(listen: str) -> None:
    assert read(f"listen: {listen}").listen.loopback


def test_a_public_url_needs_authentication_too() -> None:
    assert "public_url: is beyond loopback" in only_mistake("public_url: https://mcp.example.com")
    assert read("public_url: http://localhost:9000").public_url == "http://localhost:9000"


def test_a_proxy_before_the_gateway_needs_authentication_too() -> None:
    """What it forwards would be the local user's: not every proxy says whom it speaks for."""
    assert "trusted_proxies: has others reach this gateway" in only_mistake("trusted_proxies: [127.0.0.1/32]")
    assert read("auth: {type: keys}\ntrusted_proxies: [127.0.0.1/32]").trusted_proxies


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("listen: 8080", "should be host:port"),
        ("listen: ':8080'", "should be host:port"),
        ("listen: 127.0.0.1:70000", "has a port over 65535"),
        ("listen: '[nonsense]:80'", "should be host:port"),
        ("tls: {certificate: x}", "tls.key: is needed"),
        ("auth: {type: keys}\ntrusted_proxies: [10.0.0.1/8]", "should be an address or network"),
        ("allowed_hosts: ['a b']", "should be a host name or address"),
        ("allowed_origins: ['*']", "should be a URL that begins with http:// or https://"),
        ("allowed_origins: ['https://a.b/']", "should be an origin"),
        ("outbound: {proxy: 'socks5://x'}", "should be a URL that begins with http:// or https://"),
        ("state: ''", "state: should be a path, is empty"),
        (
            "auth: {type: none}",
            "auth.type: is none of the known words (known: certificate, introspection, jwt, keys, kubernetes, local, spiffe)",
        ),
        ("auth: local", "auth: should be a mapping, is text"),
        ("servers: [a]", "servers: should be a mapping, is a list"),
        ("limits: {calls_in_flight: 1.5}", "should be a whole number, is a number"),
    ],
)
def test_a_setting_of_the_gateway_that_cannot_be_is_told_of(line: str, said: str) -> None:
    assert said in only_mistake(line)


def test_a_mistyped_launch_key_is_recognised() -> None:
    typed, missing = mistakes("servers: {a: {comand: [x]}}")
    assert "servers.a.comand: is no known key; did you mean command?" in typed
    assert missing == "1: servers.a: exactly one of image, command, package, url is needed"
