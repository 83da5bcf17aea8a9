"""What differs between the SDKs, tried with TypeScript's too: questions, subscriptions, changes of lists."""

from __future__ import annotations

import pytest

from tests.clients.typescript import LINES
from tests.matrix.peer import Shown
from tests.matrix.run import ALL, Run
from tests.matrix.typescript import check, questions
from tests.matrix.upstreams import FORMS


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", LINES)
async def test_a_typescript_client_is_asked_and_hears_what_it_listens_to(
    run: Run, mode: str, form: str
) -> None:
    check(await questions(run.gateway.url(ALL), mode, Shown(form)), LINES[mode])
