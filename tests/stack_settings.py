"""Settings of the stacks that tests start: aily's own, but passwords are cheap to hash.

By design a hash costs 0.4 s of CPU, and each stack makes up to five users. Where that cost is what
a test is about, its stack has `aily.settings` in its environment.
"""

from __future__ import annotations

from aily.settings import *  # noqa: F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
