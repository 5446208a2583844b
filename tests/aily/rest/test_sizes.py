"""Bounds of what rows keep, in bytes and by the field's name."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from aily.rest.sizes import check_sizes
from chat.models import Scene


def test_a_text_may_have_its_bytes_and_no_more() -> None:
    # With the quotes that JSON puts round it.
    scene = Scene(title="ä" * 7, description="x")
    check_sizes(scene, "title", "description", max_bytes=16)
    scene.title += "ä"
    with pytest.raises(ValidationError) as caught:
        check_sizes(scene, "title", "description", max_bytes=16)
    assert caught.value.message_dict == {"title": ["May have 16 bytes at most."]}


def test_every_field_that_has_more_is_named() -> None:
    scene = Scene(title="x" * 17, description="x" * 17)
    with pytest.raises(ValidationError) as caught:
        check_sizes(scene, "title", "description", max_bytes=16)
    assert caught.value.message_dict.keys() == {"title", "description"}
