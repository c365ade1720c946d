"""What of YAML a journey file may hold."""

from __future__ import annotations

import pytest

from stagepost.journey.yaml_nodes import Unreadable, read_yaml


@pytest.mark.parametrize("text", ["a: !foo b", "a: !!python/object/apply:os.system [x]", "a: !!set {b: }"])
def test_a_tag_is_refused_at_its_value(text: str) -> None:
    with pytest.raises(Unreadable, match="leave it out") as caught:
        read_yaml(text)
    assert (1, 4) == (caught.value.position.line, caught.value.position.column)
