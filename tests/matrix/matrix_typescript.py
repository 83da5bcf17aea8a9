"""What differs between the SDKs, tried with TypeScript's too: questions, subscriptions, changes of lists."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.typescript import LINES
from tests.matrix.peer import Shown
from tests.matrix.run import ALL, Run, standing
from tests.matrix.typescript import check, questions
from tests.matrix.upstreams import FORMS


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """One gateway for all."""
    with standing(tmp_path_factory.mktemp("typescript")) as made:
        yield made


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", LINES)
async def test_a_typescript_client_is_asked_and_hears_what_it_listens_to(
    run: Run, mode: str, form: str
) -> None:
    check(await questions(run.gateway.url(ALL), mode, Shown(form)), LINES[mode])
