"""Run inside the measured installation: a key for each socket, the bench's model and scene.

Arguments: number of users, URL of the bench's simulator, concurrency cap, and `--thinking` unless
the model's answers shall come without reasoning. Prints a key a line.
"""

from __future__ import annotations

import os
import sys
from secrets import token_urlsafe

import django


def seed(users: int, simulator_url: str, cap: int, *, thinking: bool) -> list[str]:
    """Users without a password (hashing one costs longer than all the rest), one key each."""
    # Imported late: models need Django's apps.
    from django.db import transaction

    from accounts.models import KEY_MARK, APIKey, User
    from chat.models import LLMModel, Provider, Scene
    from chat.services.scenes import create_version, publish
    from tests.load.recording import MODEL, SCENE

    with transaction.atomic():
        provider = Provider.objects.create(name=MODEL, base_url=simulator_url, is_simulated=True)
        LLMModel.objects.create(
            name=MODEL,
            provider=provider,
            max_concurrency=cap,
            params={} if thinking else {"thinking": {"type": "disabled"}},
        )
        scene = Scene.objects.create(slug=SCENE, title="Bench")
        templates = {"system_template": "Answer briefly.", "user_template": "{{ text }}"}
        publish(create_version(scene, None, templates))
        owners = User.objects.bulk_create(
            [User(username=f"bench-{number}", password="!") for number in range(users)]
        )
        secrets = [KEY_MARK + token_urlsafe(32) for _ in owners]
        APIKey.objects.bulk_create(
            [
                APIKey(
                    owner=owner, name="bench", prefix=secret[:12], digest=APIKey.digest_of(secret)
                )
                for owner, secret in zip(owners, secrets, strict=True)
            ]
        )
        return secrets


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
    django.setup()
    users, url, cap, *rest = sys.argv[1:]
    print("\n".join(seed(int(users), url, int(cap), thinking=rest == ["--thinking"])))
