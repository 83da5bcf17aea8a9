"""Faces: what endpoints are to show next, made beside what they show now. Builds; serves nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tidegate.access.authorize import Authorizer, Grants
from tidegate.domain.endpoint import EndpointSpec
from tidegate.domain.target import LISTED, Kind
from tidegate.domain.workload import NO_OFFER
from tidegate.gateway.lister import Lister
from tidegate.gateway.view import Part, View, build

_LABELS = 32
"""Labels of what clients offer that an endpoint has a view for."""


@dataclass(frozen=True, slots=True)
class Face:
    """What an endpoint is to be next."""

    spec: EndpointSpec
    authorizer: Authorizer
    views: Mapping[str, View] | None = None
    """By label; None where it stays as it is."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """What is to be served next: made beside what is served now, taken in one step."""

    servers: tuple[str, ...]
    listers: Mapping[str, Lister]
    """Of servers that are new."""
    faces: tuple[Face, ...]
    grants: Grants


def make(spec: EndpointSpec, parts: Sequence[Part], grants: Grants) -> Face:
    """Make the face of an endpoint that is declared anew, or otherwise than before."""
    views, _ = build_views(spec, parts, {NO_OFFER: View(spec)})
    return Face(spec, grants.at(spec), views)


def build_views(
    spec: EndpointSpec, parts: Sequence[Part], before: Mapping[str, View]
) -> tuple[dict[str, View], Sequence[Kind]]:
    """Build the views of an endpoint by label, and tell of which kinds they are others than before."""
    views = {NO_OFFER: build(spec, parts)}
    built = [(parts, views[NO_OFFER])]
    labels = {label for part in parts if part.definitions for label in part.definitions.offers}
    for label in sorted(labels)[:_LABELS]:
        offered = [_offered(part, label) for part in parts]
        view = next((view for others, view in built if others == offered), None)
        if view is None:
            view = build(spec, offered)
            built.append((offered, view))
        if view is not views[NO_OFFER]:
            views[label] = view
    changed = [
        views.get(label, views[NO_OFFER]).changed_since(before.get(label, before[NO_OFFER]))
        for label in {*views, *before}
    ]
    return views, [kind for kind in LISTED if any(kind in each for each in changed)]


def _offered(part: Part, label: str) -> Part:
    definitions = None if part.definitions is None else part.definitions.offered(label)
    return part if definitions is part.definitions else replace(part, definitions=definitions)
