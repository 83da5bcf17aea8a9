"""Fetching with the real pip, from a directory of wheels that stands for the index."""

import asyncio
import zipfile
from pathlib import Path

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.domain.server import Package
from tidegate.extensions.packages import Fetched, Target, fetch
from tidegate.extensions.packages.process import clean, environment, last_word
from tidegate.ports.extension import Surroundings

INSTANCE = "0123456789abcdef"


def make_wheel(index: Path, name: str, version: str, scripts: tuple[str, ...] = (), needs: str = "") -> None:
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    with zipfile.ZipFile(index / f"{module}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{module}.py", "def main(): print('hello')\n")
        requires = f"Requires-Dist: {needs}\n" if needs else ""
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        lines = "".join(f"{script} = {module}:main\n" for script in scripts)
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\n{lines}")
        wheel.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "index"
    place.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    make_wheel(place, "tide-server", "1.0", ("tide-server", "tide-other"), "tide-part>=2")
    make_wheel(place, "tide-part", "2.1")
    make_wheel(place, "tide-part", "3.0")
    return place


async def bring(tmp_path: Path, package: Package, said: list[str] | None = None) -> Fetched:
    say = (said if said is not None else []).append
    return await fetch(package, Target(), tmp_path / "into", say, Surroundings(tmp_path, INSTANCE))


async def test_a_package_comes_with_all_it_needs_locked_by_hash(index: Path, tmp_path: Path) -> None:
    said: list[str] = []
    fetched = await bring(tmp_path, Package("pypi", "tide-server", "1.0", ("tide-part<3",)), said)
    lines = fetched.lock.read_text().splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["tide-part==2.1", "tide-server==1.0"]
    assert all(" --hash=sha256:" in line for line in lines)
    assert fetched.executable == "tide-server"
    assert len(list((fetched.directory / "wheels").iterdir())) == 2
    assert said[0].startswith("fetching tide-server 1.0")


async def test_what_is_there_is_used_without_the_index(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await bring(tmp_path, Package("pypi", "tide-server", "1.0"))
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nowhere"))
    assert await bring(tmp_path, Package("pypi", "tide-server", "1.0")) == first


@pytest.mark.parametrize("harm", ["changed", "added", "removed"])
async def test_what_is_there_and_differs_from_its_lock_is_fetched_again(
    index: Path, tmp_path: Path, harm: str
) -> None:
    package = Package("pypi", "tide-server", "1.0")
    first = await bring(tmp_path, package)
    wheels = sorted((first.directory / "wheels").iterdir())
    if harm == "changed":
        wheels[0].write_bytes(wheels[0].read_bytes() + b"x")
    elif harm == "added":
        make_wheel(first.directory / "wheels", "evil", "1.0")
    else:
        wheels[0].unlink()
    assert await bring(tmp_path, package) == first
    assert sorted((first.directory / "wheels").iterdir()) == wheels


async def test_several_who_ask_at_once_get_one_whole_package(index: Path, tmp_path: Path) -> None:
    package = Package("pypi", "tide-server", "1.0")
    said: list[str] = []
    results = await asyncio.gather(*(bring(tmp_path, package, said) for _ in range(4)))
    assert len(set(results)) == 1
    assert sum(line.endswith(" 0 files, 0.0 MiB") for line in said) <= 1
    left = [path.name for path in (tmp_path / "into").iterdir() if not path.name.endswith(".lock")]
    assert left == [results[0].directory.name]


async def test_what_a_fetch_that_was_cut_short_left_is_swept_and_never_used(
    index: Path, tmp_path: Path
) -> None:
    first = await bring(tmp_path, Package("pypi", "tide-server", "1.0"))
    half = first.directory.parent / f".{first.directory.name}.abc"
    (half / "tree" / "wheels").mkdir(parents=True)
    first.lock.unlink()
    assert await bring(tmp_path, Package("pypi", "tide-server", "1.0")) == first
    assert not half.exists()


async def test_a_package_that_is_not_there_is_one_clear_line_and_leaves_nothing(
    index: Path, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeFailure, match=r"^tide-server 9\.9 cannot be fetched: .*9\.9") as caught:
        await bring(tmp_path, Package("pypi", "tide-server", "9.9"))
    assert "\n" not in str(caught.value)
    assert [p.name for p in (tmp_path / "into").iterdir() if not p.name.endswith(".lock")] == []


async def test_requirements_that_cannot_be_met_together_are_named(index: Path, tmp_path: Path) -> None:
    make_wheel(index, "tide-part", "1.5")
    with pytest.raises(RuntimeFailure) as caught:
        await bring(tmp_path, Package("pypi", "tide-server", "1.0", ("tide-part<2",)))
    assert str(caught.value) == (
        "tide-server 1.0 cannot be fetched: conflicting requirements: "
        "The user requested tide-part<2; tide-server 1.0 depends on tide-part>=2"
    )


async def test_a_program_that_the_package_lacks_is_refused_with_those_it_has(
    index: Path, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeFailure, match="tide-other, tide-server"):
        await bring(tmp_path, Package("pypi", "tide-server", "1.0", executable="nothing"))
    chosen = await bring(tmp_path, Package("pypi", "tide-server", "1.0", executable="tide-other"))
    assert chosen.executable == "tide-other"


async def test_an_only_program_is_taken_whatever_its_name(index: Path, tmp_path: Path) -> None:
    make_wheel(index, "lone", "1.0", ("run-it",))
    assert (await bring(tmp_path, Package("pypi", "lone", "1.0"))).executable == "run-it"


def test_an_error_names_no_credentials() -> None:
    told = ["Looking in indexes: …", "ERROR: 401 for https://bob:hunter2@index.example/simple?token=abc x"]
    assert last_word(told) == "401 for https://index.example/simple x"
    assert clean("a\x1b[31mb") == "a[31mb"


def test_npm_is_taken_at_its_first_plain_word() -> None:
    told = ["npm error code E404", "npm error 404 Not Found - GET https://index.example/x", "npm error 404"]
    assert last_word(told) == "404 Not Found - GET https://index.example/x"


def test_a_client_gets_proxy_and_authorities_but_not_the_gateways_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    extra = tmp_path / "ca.pem"
    extra.write_text("EXTRA\n")
    system = tmp_path / "system.pem"
    system.write_text("SYSTEM\n")
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    env = environment(Surroundings(tmp_path, INSTANCE, "http://proxy:3128", extra), tmp_path)
    assert "GITHUB_TOKEN" not in env
    assert env["HTTPS_PROXY"] == "http://proxy:3128"
    assert Path(env["PIP_CERT"]).read_text().split() == ["SYSTEM", "EXTRA"]
    assert env["npm_config_cafile"] == env["PIP_CERT"]
