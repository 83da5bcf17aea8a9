"""The documentation is true: its links lead somewhere, its commands exist, its settings load, its example runs."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperGroup

from tidegate.cli.app import app
from tidegate.domain.server import Package, ServerSpec
from tidegate.domain.workload import WorkloadIdentity, WorkloadKey
from tidegate.extensions import table
from tidegate.ports.extension import Surroundings
from tidegate.settings import load, parse

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMENTED = [ROOT / "deploy" / "compose.yaml", ROOT / "examples" / "marine" / "tidegate.yaml"]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, *languages: str) -> list[str]:
    """Give the fenced blocks of a page that are of these languages."""
    return [
        text for language, text in FENCE.findall(page.read_text(encoding="utf-8")) if language in languages
    ]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name(page)} links to {link}, which is not there"
        assert target.is_relative_to(ROOT), f"{name(page)} links to {link}, outside the repository"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{name(page)} links to {link}, which has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_source_file_that_is_named_is_there(page: Path) -> None:
    named = re.findall(
        r"`((?:src|tests|docs|scripts|examples|deploy|bench|locks)/[\w./-]+)`", page.read_text("utf-8")
    )
    missing = [path for path in named if not (ROOT / path).exists()]
    assert missing == []


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").glob("*.svg")), ids=name)
def test_pictures_load_nothing_from_elsewhere(picture: Path) -> None:
    text = picture.read_text("utf-8")
    assert re.findall(r"url\((?!#|&#)|(?:href|src)=", text) == []


def pages_in_docs() -> list[Path]:
    return [page for page in PAGES if page.is_relative_to(ROOT / "docs") and page.name != "index.md"]


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    links = {
        (index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(index.read_text("utf-8"))
    }
    folders = {link for link in links if link.is_dir()}
    left_out = [name(page) for page in pages_in_docs() if page not in links and page.parent not in folders]
    assert left_out == []


def settings_blocks() -> Iterator[tuple[str, str]]:
    """Give every YAML block that is a settings file or some of its top-level keys."""
    known = {
        "listen",
        "servers",
        "endpoints",
        "auth",
        "runtimes",
        "runtime",
        "journal",
        "limits",
        "tls",
        "outbound",
    }
    for page in PAGES:
        for number, text in enumerate(blocks(page, "yaml"), start=1):
            read = yaml.safe_load(text)
            if isinstance(read, dict) and set(read) & known:
                yield f"{name(page)}:{number}", text


@pytest.mark.parametrize(
    "text", [text for _, text in settings_blocks()], ids=[label for label, _ in settings_blocks()]
)
def test_settings_in_the_documentation_load(text: str, tmp_path: Path, bare: None) -> None:
    for number, path in enumerate(re.findall(r"\$\{file:([^}]+)\}|source: ([^,}\s]+)", text)):
        secret, source = path
        place = tmp_path / (secret or source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if secret:
            place.write_text(f"secret-{number}")
            place.chmod(0o600)
        else:
            place.mkdir(exist_ok=True)
    environment = dict.fromkeys(re.findall(r"\$\{env:(\w+)\}", text), "value")
    parse(text, tmp_path, table, environment=environment)


@pytest.mark.parametrize("path", ["deploy/tidegate.yaml", "examples/marine/tidegate.yaml"])
def test_settings_that_are_shipped_load(path: str) -> None:
    assert load(ROOT / path, table).servers


def commands() -> Iterator[tuple[str, list[str]]]:
    """Give every command line of the documentation, and of comments beside settings, that is ours."""
    for page in COMMENTED:
        for line in re.findall(r"^#.*?\b(tidegate [a-z].*)$", page.read_text("utf-8"), re.MULTILINE):
            yield name(page), shlex.split(line)
    for page in PAGES:
        for block in blocks(page, "sh", "bash", "console"):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if words and (words[0].startswith("scripts/") or Path(words[0]).name == "tidegate"):
                    yield name(page), words


def test_scripts_that_are_told_of_are_there_and_can_be_run() -> None:
    told = {words[0] for _, words in commands() if words[0].startswith("scripts/")}
    assert {"scripts/quickstart", "scripts/test"} <= told
    for script in told:
        assert (ROOT / script).stat().st_mode & 0o111, f"{script} cannot be run"


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, id=f"{page}: {' '.join(words)[:60]}")
        for page, words in commands()
        if "tidegate" in words[0]
    ],
)
def test_commands_that_are_told_of_are_understood(words: list[str]) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    with group.make_context("tidegate", words[1:2], resilient_parsing=True) as outer:
        command, rest = group.get_command(outer, words[1]), words[2:]
        if isinstance(command, TyperGroup):
            command, rest = command.get_command(outer, rest[0]), rest[1:]
        assert command is not None, f"there is no command {words[1]}"
        command.make_context(words[1], list(rest)).close()


@pytest.fixture
def bare(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the example extension installed, by what its pyproject says."""
    example = ROOT / "examples" / "extension"
    project = tomllib.loads((example / "pyproject.toml").read_text("utf-8"))["project"]
    site = tmp_path_factory.mktemp("site")
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    entries = "".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in values.items())
        for group, values in project["entry-points"].items()
    )
    (info / "entry_points.txt").write_text(entries)
    (site / "tidegate_bare.py").write_text((example / "tidegate_bare.py").read_text("utf-8"))
    monkeypatch.syspath_prepend(str(site))


@pytest.mark.parametrize("language", ["python", "toml"])
def test_what_the_page_on_extensions_shows_is_in_the_example(language: str) -> None:
    file = {"python": "tidegate_bare.py", "toml": "pyproject.toml"}[language]
    code = (ROOT / "examples" / "extension" / file).read_text("utf-8")
    shown = blocks(ROOT / "docs" / "extensions.md", language)
    assert shown
    for block in shown:
        assert block in code


class _Heard:
    """Keeps what a stream tells."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def stdout(self, data: bytes) -> None:
        self.out += data

    def stderr(self, data: bytes) -> None:
        raise AssertionError(data)

    def closed(self, reason: str) -> None:
        self.ended.set_result(reason)


async def test_the_example_extension_is_found_and_runs_a_server(bare: None, tmp_path: Path) -> None:
    extension = table.resolve("runtimes", "bare")
    settings = table.settings_model("runtimes", "bare").model_validate({"install_seconds": 1})
    programs = tmp_path / "runtime" / "bare" / "echo-1" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    (programs / "echo").write_text("import sys\nprint(sys.stdin.readline().upper(), flush=True)\n")
    spec = ServerSpec("echo", Package("pypi", "echo", "1"), "bare")
    identity = WorkloadIdentity("tg-echo-0", "0" * 16, WorkloadKey("echo", spec.digest(), "shared"))
    async with extension.open(settings, Surroundings(tmp_path, "0" * 16)) as runtime:
        await runtime.prepare(spec, print)
        heard = _Heard()
        running = await runtime.start(spec, identity, heard)
        running.stream.write(b"ahoy\n")
        assert await asyncio.wait_for(heard.ended, 10) == "exited with status 0"
        assert bytes(heard.out) == b"AHOY\n\n"
