"""What is read of an image."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate.domain.errors import RuntimeFailure
from tidegate.extensions.runtimes.docker.images import resolved


def image(**labels: str) -> dict[str, Any]:
    return {
        "Id": "sha256:1",
        "Config": {"Labels": {name.replace("_", "."): word for name, word in labels.items()}},
    }


@pytest.mark.parametrize(
    "word", ["companion", "set", "part", "carrier", "instance", "workload", "secrets-of", "whatever-comes"]
)
def test_an_image_whose_containers_would_pass_for_something_else_is_refused(word: str) -> None:
    with pytest.raises(RuntimeFailure, match=f"image evil:1 has the label 'dev.tidegate.{word}'"):
        resolved("evil:1", image(**{f"dev.tidegate.{word}": "victim"}))


def test_labels_of_others_and_those_of_images_that_are_built_here_are_read() -> None:
    found = resolved("good:1", image(org_opencontainers_image_title="good", dev_tidegate_base="python"))
    assert found.labels == {"org.opencontainers.image.title": "good", "dev.tidegate.base": "python"}
