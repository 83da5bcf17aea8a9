"""The breaker: after failures in a row nobody waits, and one after the other may try."""

from __future__ import annotations

from tidegate.extensions.policies.opa.breaker import ENOUGH, REST, Breaker


def test_after_enough_failures_in_a_row_one_may_try_after_each_rest_until_it_answers() -> None:
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    for _ in range(ENOUGH):
        assert breaker.lets_through()
        breaker.failed()
    assert not breaker.lets_through()
    now[0] = REST
    assert breaker.lets_through()
    assert not breaker.lets_through()
    breaker.failed()
    now[0] = 2 * REST
    assert breaker.lets_through()
    breaker.answered()
    assert breaker.lets_through()
    assert breaker.lets_through()


def test_failures_between_answers_shut_nobody_out() -> None:
    breaker = Breaker(lambda: 0.0)
    for _ in range(10 * ENOUGH):
        breaker.failed()
        breaker.answered()
    assert breaker.lets_through()
