"""Which companions and volumes a workload has, and what they are made of."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from typing import Any, cast

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Companion, Image, Limits, Secret, ServerSpec, Sharing, Volume
from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.extensions.runtimes.docker import harden, sets, volumes
from tidegate.extensions.runtimes.docker.archive import looked_through, parted
from tidegate.extensions.runtimes.docker.bandwidth import shape
from tidegate.extensions.runtimes.docker.probe import probe_of, unframed
from tidegate.extensions.runtimes.docker.scales import sizes_of

DB = Companion("db", "db:1", env={"PASSWORD": Secret("quiet")}, limits=Limits(memory=64 << 20))
SPEC = ServerSpec("notes", Image("notes:1"), "docker", companions=(DB,))
KEPT = replace(DB, volumes=(Volume("data", "/data", each=True),))


def workload(sharing: str, number: str = "00000001", server: str = "notes") -> WorkloadIdentity:
    return WorkloadIdentity(f"tg-{server}-{number}", "f" * 16, WorkloadKey(server, "digest", sharing))


def name(spec: ServerSpec, sharing: str, number: str = "00000001") -> str:
    return sets.set_of(spec, workload(sharing, number)).name


def test_everybodys_server_has_one_set_in_all_its_replicas_and_versions() -> None:
    spec = replace(SPEC, sharing=Sharing.SHARED)
    assert name(spec, "shared") == name(replace(spec, env={"VERSION": "2"}), "shared~2", "00000002")
    changed = replace(spec, companions=(replace(DB, image="db:2"),))
    assert name(spec, "shared") != name(changed, "shared")


def test_a_principals_workloads_have_one_set_where_it_keeps_data_and_each_its_own_where_not() -> None:
    kept = replace(SPEC, companions=(KEPT,))
    assert name(kept, "aa") == name(kept, "aa+form", "00000002") != name(kept, "bb")
    assert name(SPEC, "aa") != name(SPEC, "aa", "00000002")
    assert name(kept, "unclaimed") != name(kept, "unclaimed", "00000002")


def test_volumes_are_told_apart_by_server_name_and_key() -> None:
    assert volumes.volume_name("f", "a-b", "c", "") != volumes.volume_name("f", "a", "b-c", "")
    each = Volume("data", "/data", each=True)
    keys = {volumes.key_of(each, workload(sharing).key) for sharing in ("aa", "aa~2", "aa+form", "aa~3+url")}
    assert len(keys) == 1
    assert volumes.key_of(each, workload("bb").key) not in keys
    assert volumes.key_of(Volume("data", "/data"), workload("aa").key) == ""


def test_a_companion_is_confined_like_a_server_and_its_secrets_are_in_its_environment_alone() -> None:
    wanted = sets.set_of(SPEC, workload("aa"))
    made = harden.Made("sha256:1", user="999:999", network=wanted.name, hosts=("db:198.18.0.2",))
    body = sets.body_of(wanted, DB, made, "198.18.0.2")
    server = cast("dict[str, Any]", harden.host(replace(SPEC, limits=DB.limits), made))
    host = cast("dict[str, Any]", body["HostConfig"])
    assert {key for key in host if host[key] != server[key]} == {"LogConfig"}
    assert body["User"] == "999:999"
    assert "PASSWORD=quiet" in cast("list[str]", body["Env"])
    assert "quiet" not in str(body["Labels"])
    assert WorkloadIdentity.from_labels(cast("dict[str, str]", body["Labels"])) is None


def test_a_network_gives_this_machine_no_address_and_its_first_half_to_companions() -> None:
    made = sets.network(sets.set_of(SPEC, workload("aa")), "198.18.5.128/25")
    assert made["Internal"] is True
    assert made["Options"] == {"com.docker.network.bridge.inhibit_ipv4": "true"}
    assert made["IPAM"]["Config"] == [{"Subnet": "198.18.5.128/25", "IPRange": "198.18.5.192/26"}]  # type: ignore[index]
    assert sets.address_in("198.18.5.128/25", 0) == "198.18.5.130"
    assert (sets.subnet_of(0), sets.subnet_of(1023), sets.subnet_of(1024)) == (
        "198.18.0.0/25",
        "198.19.255.128/25",
        "198.18.0.0/25",
    )


def test_a_port_is_probed_by_the_kernels_own_table_of_sockets() -> None:
    assert probe_of(replace(DB, probe=("pg_isready",))) == ("pg_isready",)
    assert probe_of(DB) is None
    argv = probe_of(replace(DB, port=5432))
    assert argv is not None
    assert ":1538 " in argv[3]


def test_an_engines_frames_are_taken_off_what_a_container_said() -> None:
    assert unframed(b"\1\0\0\0\0\0\0\3one\2\0\0\0\0\0\0\3two\1\0") == b"onetwo"


def test_what_a_bucket_holds_grows_with_the_rate() -> None:
    assert shape("eth0", 1024)[-6:] == ("rate", "8192bit", "burst", "65536b", "latency", "200ms")
    assert "21474836b" in shape("eth0", 1 << 30)


@pytest.mark.parametrize(
    "text", ["notes", "notes/data/key", "../notes", "notes/data/0123456789abcde", "a/b/c/d"]
)
def test_what_is_no_name_of_a_volume_is_refused(text: str) -> None:
    with pytest.raises(RuntimeFailure, match="no name of a volume"):
        parted(text)


def test_a_volume_is_named_by_server_volume_and_key() -> None:
    assert parted("notes/data") == ("notes", "data", "")
    assert parted("a-b/c-d/0123456789abcdef") == ("a-b", "c-d", "0123456789abcdef")


@pytest.mark.parametrize(
    ("kind", "link", "said"),
    [
        (tarfile.CHRTYPE, "", "a device"),
        (tarfile.BLKTYPE, "", "a device"),
        (tarfile.LNKTYPE, "/etc/passwd", "outside volume/"),
        (tarfile.LNKTYPE, "volume/../../etc/passwd", "outside volume/"),
    ],
)
def test_a_tar_with_what_no_volume_holds_is_refused(kind: bytes, link: str, said: str) -> None:
    entry = tarfile.TarInfo("volume/one")
    entry.type, entry.linkname = kind, link
    with pytest.raises(RuntimeFailure, match=said):
        looked_through(io.BytesIO(volumes.tar_of(entry)))


def test_what_the_engine_could_not_measure_is_left_out() -> None:
    answer = (
        b'{"Volumes": [{"Name": "a", "UsageData": {"Size": 7}}, {"Name": "b", "UsageData": {"Size": -1}}]}'
    )
    assert sizes_of(answer) == {"a": 7}
