"""Replicas, scaling, queue and health in the settings file."""

from __future__ import annotations

import pytest

from tests.unit.settings.given import only_mistake, read
from tidegate.domain.server import Health, Queue, Replicas, Scaling, Schedule, ServerSpec

WHOLE = """
    servers:
      weather:
        image: weather:1
        sharing: shared
        stateless: true
        replicas: {min: 2, max: 6}
        scaling:
          in_flight: 4
          wait: 0.5
          latency: 2s
          up_after: 1
          down_after: 5m
          pause_after: 10m
          schedules:
            - {name: morning, days: [mon, fri], from: "07:30", to: "10:00", zone: Europe/Berlin, min: 4}
            - {name: night, from: "23:00", to: "01:00", min: 3}
          signals: {storm: 6}
        queue: {length: 10, wait: 5s, in_flight: 2}
        health: {every: 0, timeout: 2s, failures: 5, eject: 1m, restarts: 3, window: 1h}
"""


def server(text: str) -> ServerSpec:
    return read(text).servers[0]


def test_all_of_it_is_read() -> None:
    spec = server(WHOLE)
    assert spec.replicas == Replicas(2, 6)
    assert spec.scaling == Scaling(
        in_flight=4, wait=0.5, latency=2.0, up_after=1.0, down_after=300.0, pause_after=600.0,
        schedules=(
            Schedule("morning", frozenset({0, 4}), 450, 600, "Europe/Berlin", 4),
            Schedule("night", frozenset(range(7)), 1380, 60, "UTC", 3),
        ),
        signals={"storm": 6},
    )  # fmt: skip
    assert spec.queue == Queue(10, 5.0, 2)
    assert spec.health == Health(0.0, 2.0, 5, 60.0, 3, 3600.0)
    assert not spec.remembers


def test_what_is_not_said_has_the_defaults_of_the_domain_and_changes_no_digest() -> None:
    plain = server("servers: {weather: {image: 'weather:1', sharing: shared, stateless: true}}")
    assert (plain.replicas, plain.scaling, plain.queue, plain.health) == (
        Replicas(),
        Scaling(),
        Queue(),
        Health(),
    )
    assert plain.digest() == server(WHOLE).digest()


def test_a_server_elsewhere_has_a_queue_and_health_too() -> None:
    spec = server(
        "servers: {a: {url: 'https://example.com/mcp', queue: {in_flight: 3}, health: {every: 1m}}}"
    )
    assert (spec.queue.in_flight, spec.health.every) == (3, 60.0)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("replicas: {max: 2}", "replicas.max: goes with sharing: shared or call"),
        ("replicas: {max: 2}, sharing: session", "replicas.max: goes with sharing: shared or call"),
        ("replicas: {max: 2}, sharing: shared", "replicas.max: needs stateless: true"),
        ("replicas: {min: 2}", "replicas.min: is more than replicas.max (1)"),
        ("replicas: {min: -1}", "replicas.min: should be greater than or equal to 0"),
        ("replicas: {max: 65}, sharing: call", "replicas.max: should be less than or equal to 64"),
        ("scaling: {signals: {storm: 1}}", "scaling.signals: goes with sharing: shared only"),
        (
            "sharing: shared, scaling: {signals: {storm: 2}}",
            "scaling.signals.storm: is more than replicas.max (1)",
        ),
        ("sharing: shared, scaling: {signals: {Storm!: 1}}", "scaling.signals: holds a name that is not"),
        (
            "sharing: shared, scaling: {schedules: [{name: a, from: '07:30', to: '8', min: 1}]}",
            'scaling.schedules[0].to: should be a time of day such as "07:30"',
        ),
        (
            "sharing: shared, scaling: {schedules: [{name: a, from: '07:30', to: '08:00', zone: Mars, min: 1}]}",
            "scaling.schedules[0].zone: should be the name of a time zone",
        ),
        (
            "sharing: shared, scaling: {schedules: [{name: a, days: [monday], from: '07:30', to: '08:00', min: 1}]}",
            "scaling.schedules[0].days[0]: is none of the known words; did you mean mon?",
        ),
        (
            "sharing: shared, scaling: {schedules: [{name: a, from: '07:30', to: '08:00', min: 3}]}",
            "scaling.schedules[0].min: is more than replicas.max (1)",
        ),
        ("queue: {in_flight: 0}", "queue.in_flight: should be greater than or equal to 1"),
        ("health: {failures: 0}", "health.failures: should be greater than or equal to 1"),
        ("health: {evry: 1}", "health.evry: is no known key; did you mean every?"),
    ],
)
def test_what_does_not_go_together_is_said(keys: str, said: str) -> None:
    assert said in only_mistake(f"servers: {{a: {{image: 'a:1', {keys}}}}}")
