"""What a workload's container is made of, key by key."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Image, Limits, Mount, Network, Secret, ServerSpec, Transport
from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.extensions.runtimes.docker.extension import default_user
from tidegate.extensions.runtimes.docker.harden import Made, container

SPEC = ServerSpec("vessels", Image("vessels:1"), "docker")
IDENTITY = WorkloadIdentity("tg-vessels-00000001", "f" * 16, WorkloadKey("vessels", "a" * 16, "shared"))
MADE = Made("sha256:1234", argv=("--fast",))
WEB = replace(SPEC, launch=Image("web:1", transport=Transport.HTTP, port=8080))


def body(spec: ServerSpec = SPEC, **made: Any) -> dict[str, Any]:
    return container(spec, IDENTITY, replace(MADE, **made))


def host(spec: ServerSpec = SPEC, **made: Any) -> dict[str, Any]:
    return body(spec, **made)["HostConfig"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CapDrop", ["ALL"]),
        ("CapAdd", []),
        ("Privileged", False),
        ("SecurityOpt", ["no-new-privileges:true"]),
        ("ReadonlyRootfs", True),
        ("Tmpfs", {"/tmp": "rw,noexec,nosuid,nodev,size=67108864,mode=1777"}),
        ("Memory", 268435456),
        ("MemorySwap", 268435456),
        ("NanoCpus", 1_000_000_000),
        ("PidsLimit", 128),
        ("NetworkMode", "none"),
        ("IpcMode", "private"),
        ("PidMode", ""),
        ("UTSMode", ""),
        ("UsernsMode", ""),
        ("CgroupnsMode", "private"),
        ("Devices", []),
        ("PublishAllPorts", False),
        ("Mounts", []),
        ("Init", True),
        ("LogConfig", {"Type": "none", "Config": {}}),
        ("RestartPolicy", {"Name": "no", "MaximumRetryCount": 0}),
        ("AutoRemove", False),
        ("OomScoreAdj", 500),
    ],
)
def test_a_server_that_declares_nothing_gets_the_least(key: str, value: object) -> None:
    assert host()[key] == value


def test_nothing_is_set_that_no_test_names() -> None:
    named = {
        *(
            "CapDrop",
            "CapAdd",
            "Privileged",
            "SecurityOpt",
            "ReadonlyRootfs",
            "Tmpfs",
            "Memory",
            "MemorySwap",
        ),
        *("NanoCpus", "PidsLimit", "Ulimits", "NetworkMode", "IpcMode", "PidMode", "UTSMode", "UsernsMode"),
        *("CgroupnsMode", "Devices", "PublishAllPorts", "Mounts", "Init", "LogConfig", "RestartPolicy"),
        *("AutoRemove", "OomScoreAdj"),
    }
    assert set(host()) == named


def test_open_files_are_bounded_and_there_are_no_core_dumps() -> None:
    assert host()["Ulimits"] == [
        {"Name": "nofile", "Soft": 4096, "Hard": 4096},
        {"Name": "core", "Soft": 0, "Hard": 0},
    ]


def test_seccomp_is_left_to_the_engine_and_never_unconfined() -> None:
    assert not any("seccomp" in option for option in host(apparmor=True)["SecurityOpt"])


def test_apparmor_is_asked_for_where_the_engine_has_it() -> None:
    assert host(apparmor=True)["SecurityOpt"] == ["no-new-privileges:true", "apparmor=docker-default"]


def test_limits_are_the_declared_ones() -> None:
    limits = Limits(memory=64 << 20, cpus=0.5, pids=7, tmp=1 << 20)
    made = host(replace(SPEC, limits=limits))
    assert (made["Memory"], made["MemorySwap"]) == (64 << 20, 64 << 20)
    assert (made["NanoCpus"], made["PidsLimit"]) == (500_000_000, 7)
    assert "size=1048576" in made["Tmpfs"]["/tmp"]


def test_standard_input_stays_open_when_a_stream_is_dropped() -> None:
    made = body()
    assert (made["OpenStdin"], made["AttachStdin"], made["StdinOnce"], made["Tty"]) == (
        True,
        True,
        False,
        False,
    )


def test_an_http_server_has_no_standard_input_and_publishes_nothing_unless_open() -> None:
    made = body(WEB, network="tidegate-net")
    assert made["OpenStdin"] is False
    assert "ExposedPorts" not in made
    assert "PortBindings" not in made["HostConfig"]
    assert made["HostConfig"]["NetworkMode"] == "tidegate-net"


def test_an_open_http_server_is_published_on_loopback() -> None:
    made = body(replace(WEB, network=Network.OPEN), network="tidegate-net")
    assert made["ExposedPorts"] == {"8080/tcp": {}}
    assert made["HostConfig"]["PortBindings"] == {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}


@pytest.mark.parametrize(
    ("said", "given"), [("1000:1001", "1000:1001"), ("1000", "1000:1000"), (None, "65532:65532")]
)
def test_the_user_is_always_a_number_and_a_group(said: str | None, given: str) -> None:
    assert body(replace(SPEC, user=said))["User"] == given


@pytest.mark.parametrize(
    "said", ["0", "0:0", "0:5", "1000:0", "00", "root", "nobody", "1000:staff", "-1", "99999999999", " "]
)
def test_a_user_that_is_or_may_be_root_is_refused(said: str) -> None:
    with pytest.raises(RuntimeFailure, match="user"):
        body(replace(SPEC, user=said))


def test_the_gateways_own_user_is_taken_unless_it_is_root() -> None:
    assert default_user(1000, 1000) == "1000:1000"
    assert default_user(0, 0) == "65532:65532"
    assert default_user(1000, 0) == "65532:65532"


def test_home_is_tmp_unless_declared_and_secrets_are_handed_on() -> None:
    assert body(replace(SPEC, env={"KEY": Secret("s3cret")}))["Env"] == ["HOME=/tmp", "KEY=s3cret"]
    assert body(replace(SPEC, env={"HOME": "/data"}))["Env"] == ["HOME=/data"]


def test_a_mount_is_read_only_unless_declared_and_not_recursive() -> None:
    options = {"Propagation": "rprivate", "NonRecursive": True}
    given = {"Type": "bind", "Source": "/srv/a", "Target": "/data", "ReadOnly": True, "BindOptions": options}
    assert host(mounts=(Mount("/srv/a", "/data"),))["Mounts"] == [given]
    assert host(mounts=(Mount("/srv/a", "/data", writable=True),))["Mounts"][0]["ReadOnly"] is False


def test_an_images_volumes_become_bounded_memory_unless_something_is_mounted_there() -> None:
    made = host(volumes=("/cache", "/data"), mounts=(Mount("/srv/a", "/data"),))
    assert set(made["Tmpfs"]) == {"/tmp", "/cache"}


def test_labels_tell_the_workload_and_group_it() -> None:
    labels = body(labels={"further": "one"})["Labels"]
    assert WorkloadIdentity.from_labels(labels) == IDENTITY
    assert labels["com.docker.compose.project"] == "tidegate-workloads"
    assert labels["com.docker.compose.service"] == "vessels"
    assert labels["further"] == "one"


def test_an_images_own_health_check_is_not_run() -> None:
    assert body()["Healthcheck"] == {"Test": ["NONE"]}


def test_the_entrypoint_is_the_images_unless_declared() -> None:
    assert "Entrypoint" not in body()
    assert body(entrypoint=("run",))["Entrypoint"] == ["run"]
    assert body()["Cmd"] == ["--fast"]
