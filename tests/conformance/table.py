"""The tables of scenarios in docs/conformance.md: made of what came of a run, and put between their marks.

    python -m tests.conformance.table        run everything, and write them

It must not touch what is outside its marks: other parts of the page are made by others.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path

from tests.conformance.driver import driving
from tests.conformance.gateways import gateway, vouching
from tests.conformance.suite import (
    AUTH,
    EXTENSIONS,
    REVISIONS,
    ROOT,
    ClientRuns,
    Outcome,
    ServerRuns,
    client_scenarios,
    fixture,
    known,
    server_scenarios,
    vouched_scenarios,
)

PAGE = ROOT / "docs/conformance.md"
BEGIN, END = "<!-- scenarios: made by tests/conformance/table.py -->", "<!-- /scenarios -->"
NOT_YET = "not yet: comes with upstream OAuth"
NOT_RUN = "not run"
_ABSENT = "–"

Key = tuple[str, str]
Outcomes = Mapping[Key, Outcome]


def cell(outcome: Outcome | None) -> str:
    """Say in few words what came of a scenario."""
    if outcome is None:
        return NOT_RUN
    if outcome.failed or outcome.status:
        return f"**failed** ({outcome.passed} of {outcome.passed + outcome.failed})"
    if not outcome.passed:
        return "skipped by the suite" if outcome.of("SKIPPED") else "nothing to check"
    warned = len(outcome.of("WARNING"))
    return f"passed ({outcome.passed})" + (f", {warned} warned" if warned else "")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def vouched_table(vouched: Outcomes) -> list[str]:
    """Give the table of the server's side with a token."""
    asked = vouched_scenarios()
    lines = [_row("scenario", *REVISIONS), _row(*["---"] * 3)]
    for name in known()["server"]:
        keys = [(revision, name) for revision in REVISIONS]
        if any(key in asked for key in keys):
            lines.append(
                _row(f"`{name}`", *(cell(vouched.get(key)) if key in asked else _ABSENT for key in keys))
            )
    return lines


def server_table(direct: Outcomes, through: Outcomes) -> list[str]:
    """Give the table of the server's side."""
    asked = set(server_scenarios())
    heads = [f"{revision}, {how}" for revision in REVISIONS for how in ("directly", "through the gateway")]
    lines = [_row("scenario", *heads), _row(*["---"] * 5)]
    for name in known()["server"]:
        cells: list[str] = []
        for revision in REVISIONS:
            key = (revision, name)
            if key not in asked and revision == REVISIONS[-1]:
                key = (EXTENSIONS, name)
            cells += [cell(each.get(key)) if key in asked else _ABSENT for each in (direct, through)]
        lines.append(_row(f"`{name}`", *cells))
    return lines


def client_table(driven: Outcomes) -> list[str]:
    """Give the table of the client's side."""
    asked = set(client_scenarios())
    lines = [_row("scenario", *REVISIONS), _row(*["---"] * 3)]
    for name in known()["client"]:
        if name.startswith(AUTH):
            cells = [NOT_YET] * 2
        elif any((revision, name) in asked for revision in REVISIONS):
            cells = [
                cell(driven.get((revision, name))) if (revision, name) in asked else _ABSENT
                for revision in REVISIONS
            ]
        else:
            cells = ["not run: the duty of a host"] * 2
        lines.append(_row(f"`{name}`", *cells))
    return lines


def tables(direct: Outcomes, through: Outcomes, vouched: Outcomes, driven: Outcomes) -> str:
    """Give the text between the marks."""
    authorization = [f"- `{name}`" for name in known()["authorization"]]
    parts = [
        ["### The suite as client", "", *server_table(direct, through)],
        ["### The suite as client, with a token", "", *vouched_table(vouched)],
        ["### The suite as server", "", *client_table(driven)],
        ["### The suite and an authorization server", "", "The gateway is none, so these are not run:"],
    ]
    return "\n\n".join("\n".join(part) for part in parts) + "\n\n" + "\n".join(authorization)


def written() -> str:
    """Give what the page has between the marks."""
    return PAGE.read_text().partition(BEGIN)[2].partition(END)[0].strip()


def without_counts(text: str) -> str:
    """Give the tables without how many checks there were, of which warnings come and go with the machine's load."""
    return re.sub(r" \([^)]*\)|, \d+ warned", "", text)


def write(text: str) -> None:
    """Put the tables on the page."""
    page = PAGE.read_text()
    head, _, rest = page.partition(BEGIN)
    _, mark, tail = rest.partition(END)
    if not mark:
        raise ValueError(f"{PAGE} has not the marks {BEGIN} and {END}")
    PAGE.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}")


def outcomes(keys: list[Key], outcome: Callable[[str, str], Outcome]) -> dict[Key, Outcome]:
    """Wait for what comes of each."""
    return {key: outcome(*key) for key in keys}


def main() -> None:
    """Run everything and write the tables; the status tells whether everything was passed."""
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        enter = stack.enter_context
        direct = enter(closing(ServerRuns(enter(fixture()), place / "direct")))
        running = enter(gateway(place / "gateway", enter(fixture())))
        running.until_servers(upstream="ready")
        through = enter(closing(ServerRuns(running.url(), place / "through")))
        asked, token = enter(vouching(place / "vouching", enter(fixture())))
        asked.until_servers(upstream="ready")
        vouched = enter(closing(ServerRuns(asked.url(), place / "vouched", token)))
        driven = enter(closing(ClientRuns(enter(driving()), place / "driven")))
        ended = [
            outcomes(server_scenarios(), direct.outcome),
            outcomes(server_scenarios(), through.outcome),
            outcomes(vouched_scenarios(), vouched.outcome),
            outcomes(client_scenarios(), driven.outcome),
        ]
    for each in (outcome for run in ended for outcome in run.values() if outcome.failed or outcome.status):
        print(f"== {each.scenario}\n{each.told()}", file=sys.stderr)
    text = tables(*ended)
    write(text)
    print(f"{PAGE.relative_to(ROOT)}: {text.count('passed')} passed, {text.count('**failed**')} failed")
    sys.exit("**failed**" in text)


if __name__ == "__main__":
    main()
