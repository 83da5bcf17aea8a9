"""When a workload counts as sick, gets no calls, and is tried again."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tidegate.domain.server import Health
from tidegate.fleet.vitals import Vitals

HEALTH = Health(failures=3, eject=10.0)


@dataclass
class Patient:
    """Vitals on a clock that a test sets."""

    now: float = 100.0
    turns: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        self.vitals = Vitals(lambda: self.now, lambda: self.turns.append(self.vitals.state))

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.vitals.failed(HEALTH, "it broke")


@pytest.fixture
def patient() -> Patient:
    return Patient()


def test_one_failure_makes_suspect_and_a_success_well_again(patient: Patient) -> None:
    patient.fail()
    assert (patient.vitals.state, patient.vitals.reason, patient.vitals.takes) == (
        "suspect",
        "it broke",
        True,
    )
    patient.vitals.succeeded()
    assert (patient.vitals.state, patient.vitals.reason) == ("healthy", None)
    patient.fail(2)
    patient.vitals.succeeded()
    patient.fail(2)
    assert patient.turns == ["suspect", "healthy", "suspect", "healthy", "suspect"]


def test_failures_in_a_row_eject_it_until_its_time_is_over(patient: Patient) -> None:
    patient.fail(3)
    assert patient.vitals.state == "ejected"
    assert "3 failures in a row" in (patient.vitals.reason or "")
    assert not patient.vitals.takes
    patient.now += 9.9
    assert not patient.vitals.takes
    patient.now += 0.1
    assert patient.vitals.takes


def test_after_that_it_is_tried_with_one_call_at_a_time(patient: Patient) -> None:
    patient.fail(3)
    patient.now += 10
    first, other = object(), object()
    patient.vitals.begin_trial(first)
    assert not patient.vitals.takes
    patient.vitals.end_trial(other)
    assert not patient.vitals.takes
    patient.vitals.end_trial(first)  # cancelled: it showed nothing
    assert patient.vitals.takes
    patient.vitals.begin_trial(other)
    patient.vitals.succeeded()
    assert (patient.vitals.state, patient.vitals.takes) == ("healthy", True)


def test_a_trial_that_fails_ejects_it_for_twice_as_long_up_to_five_minutes(patient: Patient) -> None:
    patient.fail(3)
    spans: list[float] = []
    for _ in range(7):
        spans.append(patient.vitals.until - patient.now)
        patient.now = patient.vitals.until
        patient.fail()
        assert patient.vitals.state == "ejected"
    assert spans == [10, 20, 40, 80, 160, 300, 300]


def test_calls_that_began_before_it_was_ejected_change_nothing(patient: Patient) -> None:
    patient.fail(3)
    until = patient.vitals.until
    patient.fail(5)
    patient.vitals.succeeded()
    assert (patient.vitals.state, patient.vitals.until) == ("ejected", until)


def test_one_that_is_brought_up_again_is_another_one(patient: Patient) -> None:
    patient.fail(3)
    patient.vitals.renew()
    assert (patient.vitals.state, patient.vitals.takes) == ("unknown", True)
    patient.fail()
    assert patient.vitals.state == "suspect"


def test_the_last_one_is_not_ejected_for_the_calls_of_one_principal_alone(patient: Patient) -> None:
    for _ in range(10):
        patient.vitals.failed(HEALTH, "it broke", "ann", last=True)
    assert (patient.vitals.state, patient.vitals.sole) == ("suspect", "ann")
    patient.vitals.failed(HEALTH, "it broke", "bob", last=True)
    assert (patient.vitals.state, patient.vitals.sole) == ("ejected", "")


def test_one_of_several_is_ejected_whosever_calls_fail(patient: Patient) -> None:
    for _ in range(3):
        patient.vitals.failed(HEALTH, "it broke", "ann", last=False)
    assert patient.vitals.state == "ejected"


def test_a_probe_without_answer_confirms_what_one_principal_saw(patient: Patient) -> None:
    for _ in range(3):
        patient.vitals.failed(HEALTH, "it broke", "ann", last=True)
    patient.vitals.failed(HEALTH, "a probe went without answer")
    assert patient.vitals.state == "ejected"


def test_one_principals_trials_do_not_keep_it_ejected_for_ever_longer(patient: Patient) -> None:
    for who in ("ann", "bob", "ann"):
        patient.vitals.failed(HEALTH, "it broke", who, last=True)
    spans: list[float] = []
    for _ in range(3):
        patient.now = patient.vitals.until
        patient.vitals.failed(HEALTH, "it broke", "ann", last=True)
        spans.append(patient.vitals.until - patient.now)
    assert spans == [20, 20, 20]
    patient.now = patient.vitals.until
    patient.vitals.failed(HEALTH, "it broke", "bob", last=True)
    assert patient.vitals.until - patient.now == 40


def test_who_is_to_blame_for_an_end_is_asked_once(patient: Patient) -> None:
    patient.vitals.failed(HEALTH, "it broke", "ann", last=True)
    patient.vitals.failed(HEALTH, "a probe went without answer")
    assert patient.vitals.culprits() == {"ann"}
    assert patient.vitals.culprits() == frozenset()
