"""What the engine is asked for so that a container has its secrets: nowhere in it stands a value."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace

from tidegate.domain.server import Image, Secret, ServerSpec
from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.extensions.runtimes.docker import handover
from tidegate.extensions.runtimes.docker.harden import Made, container

CANARY = "hunter2-canary"
SPEC = ServerSpec(
    "vessels", Image("vessels:1"), "docker", secrets={"a": Secret(CANARY), "b.pem": Secret("x" * 5000)}
)
IDENTITY = WorkloadIdentity("tg-vessels-00000001", "f" * 16, WorkloadKey("vessels", "a" * 16, "shared"))
MADE = Made("sha256:1234", volumes=("/data", "/run/secrets"), data=handover.mounts(SPEC, IDENTITY))


def test_no_body_that_the_engine_keeps_holds_a_value() -> None:
    bodies = json.dumps([container(SPEC, IDENTITY, MADE), handover.box(SPEC, IDENTITY, MADE)])
    assert CANARY not in bodies
    assert "/run/secrets" in bodies


def test_the_server_has_them_on_a_tmpfs_it_cannot_write_and_the_box_can() -> None:
    (own,) = container(SPEC, IDENTITY, MADE)["HostConfig"]["Mounts"]  # pyright: ignore[reportIndexIssue]
    (filled,) = handover.box(SPEC, IDENTITY, MADE)["HostConfig"]["Mounts"]  # pyright: ignore[reportIndexIssue]
    assert own["ReadOnly"]
    assert not filled["ReadOnly"]
    assert own["Source"] == filled["Source"] == "tg-vessels-00000001-secrets"
    options = own["VolumeOptions"]["DriverConfig"]["Options"]
    assert options["type"] == "tmpfs"
    assert "nosuid,nodev,noexec" in options["o"]
    assert "size=77824" in options["o"]  # one page, two pages, and what is spare


def test_the_place_is_no_second_mount_where_the_image_declares_it_a_volume() -> None:
    for body in (container(SPEC, IDENTITY, MADE), handover.box(SPEC, IDENTITY, MADE)):
        config = body["HostConfig"]
        assert isinstance(config, dict)
        assert "/run/secrets" not in config["Tmpfs"]
        assert "/data" in config["Tmpfs"]


def test_a_server_without_secrets_has_no_mount_for_them() -> None:
    assert handover.mounts(replace(SPEC, secrets={}), IDENTITY) == ()


def test_the_files_belong_to_the_servers_user_alone() -> None:
    packed = handover.files(SPEC, "1000:2000") + bytes(1024)
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        found = {one.name: (one.uid, one.gid, oct(one.mode), one.size) for one in tar.getmembers()}
        content = tar.extractfile("a")
        assert content is not None
        assert content.read() == CANARY.encode()
    assert found == {"a": (1000, 2000, "0o400", len(CANARY)), "b.pem": (1000, 2000, "0o400", 5000)}
