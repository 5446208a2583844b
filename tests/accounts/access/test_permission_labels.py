"""Permissions are named in the language of the page."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Permission
from django.utils.translation import override

from accounts.access.permission_labels import permission_label, permission_text
from accounts.delegation import permission_name


@pytest.mark.django_db
def test_each_permission_of_a_model_has_a_name_in_each_language() -> None:
    permissions = list(Permission.objects.select_related("content_type"))
    assert len(permissions) > 50
    with override("zh-hans"):
        labels = {permission_name(row): permission_label(row) for row in permissions}
    assert [name for name, label in labels.items() if not re.search("[一-鿿]", label)] == []


def test_a_permission_is_named_in_words_beside_its_name() -> None:
    with override("zh-hans"):
        assert permission_text("chat.publish_scene") == "可以发布场景（chat.publish_scene）"
        assert permission_text("tables.change_table") == "可以修改表格（tables.change_table）"
        assert permission_text("no.such_thing") == "no.such_thing"
    with override("en"):
        assert permission_text("chat.publish_scene") == "chat.publish_scene"
