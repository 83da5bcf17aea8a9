"""Make the example repository: the wordings of an invented marine insurer, with a short history.

The same commits come out every time. It needs the program `git`, and must not read the settings of whoever
runs it.

    python -m examples.marine.repository DIRECTORY
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# (author, moment, subject, {file: text}): each text replaces the whole file.
HISTORY: tuple[tuple[str, str, str, dict[str, str]], ...] = (
    (
        "Ingrid Solberg",
        "2025-03-03T09:00:00+00:00",
        "Start the book of wordings",
        {
            "README.md": "# Wordings\n\nOne file a clause. A change is proposed, read by a second underwriter, and merged.\n",
            "clauses/hull.md": "# Hull and machinery\n\n1. Perils of the seas, fire, jettison and piracy are covered.\n"
            "2. The deductible applies to each accident.\n",
        },
    ),
    (
        "Ingrid Solberg",
        "2025-05-19T13:30:00+00:00",
        "Add war risks, with notice of cancellation of seven days",
        {
            "clauses/war.md": "# War risks\n\n1. War, capture and seizure are covered.\n"
            "2. Either side may cancel with seven days' notice.\n",
        },
    ),
    (
        "Tobias Renner",
        "2025-11-04T08:15:00+00:00",
        "Name the listed areas in which war cover must be asked for",
        {"areas.csv": "area,since\nGulf of Aden,2025-11-04\nBlack Sea,2025-11-04\n"},
    ),
    (
        "Mei Tan",
        "2026-02-12T10:45:00+00:00",
        "Shorten the notice for war risks to seventy-two hours",
        {
            "clauses/war.md": "# War risks\n\n1. War, capture and seizure are covered.\n"
            "2. Either side may cancel with seventy-two hours' notice.\n",
        },
    ),
)


def write(directory: Path) -> None:
    """Write the repository to `directory`. What stands there is replaced.

    Raises:
        FileNotFoundError: there is no program `git`.
        subprocess.CalledProcessError: git failed; `stderr` says why.
    """
    if shutil.which("git") is None:
        raise FileNotFoundError("git")
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    _git(directory, "init", "--quiet", "--initial-branch=main")
    for author, moment, subject, files in HISTORY:
        for name, text in files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        _git(directory, "add", "--all")
        _git(directory, "commit", "--quiet", "--message", subject, author=author, moment=moment)


def _git(directory: Path, *args: str, author: str = "", moment: str = "") -> None:
    mail = author.lower().replace(" ", ".") + "@example.com"
    # An environment of its own: no one's settings, hooks, signing or templates.
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TEMPLATE_DIR": "",
        "GIT_AUTHOR_NAME": author,
        "GIT_AUTHOR_EMAIL": mail,
        "GIT_AUTHOR_DATE": moment,
        "GIT_COMMITTER_NAME": author,
        "GIT_COMMITTER_EMAIL": mail,
        "GIT_COMMITTER_DATE": moment,
    }
    subprocess.run(
        ["git", "-C", str(directory), *args],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m examples.marine.repository DIRECTORY")
    write(Path(sys.argv[1]))
