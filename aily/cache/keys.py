"""Every key of the cache, with its version.

Raise a version when the form of what is stored changes: processes of the old and of the new code
then do not read one another's values, and the old ones run out by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", contravariant=True)


@dataclass(frozen=True)
class Keyspace(Generic[K]):
    """Values of one kind. All times are in seconds.

    `local_seconds` is how long a process may use its copy without asking Redis: together with the
    invalidation after each commit it bounds how long something taken away can still be seen.
    """

    name: str
    version: int
    #: Give or take a fifth, so that what was built together is not built anew together.
    seconds: float = 300.0
    #: How long it is kept that there is no such value.
    null_seconds: float = 5.0
    local_seconds: float = 0.5

    def key(self, key: K) -> str:
        return f"aily:cache:{{{self.name}:{self.version}:{key}}}"

    def lock_key(self, key: K) -> str:
        """The lock of the process that builds the value, under the same hash tag."""
        return f"aily:building:{{{self.name}:{self.version}:{key}}}"

    @property
    def mark_key(self) -> str:
        """Set while no key of this keyspace was made (aily/cache/filters.py)."""
        return f"aily:no-new:{{{self.name}}}"

    @property
    def patterns(self) -> tuple[str, str]:
        """Match all keys, locks first (see `Cached.invalidate_all`)."""
        return f"aily:building:{{{self.name}:*", f"aily:cache:{{{self.name}:*"


#: API keys by their digest: their users, and until when they are valid.
API_KEYS = Keyspace[str]("api_key", version=1)
#: Users by id: their roles and limits, their own permissions, and the hashes of their sessions.
USERS = Keyspace[int]("user", version=2)
#: Roles by id: their permissions and limits.
ROLES = Keyspace[int]("role", version=2)
#: All menu items together, under one name.
MENU = Keyspace[str]("menu", version=1)
#: Results of calls by model and digest of the request (chat/answer_cache.py), each for as long as
#: its scene says.
ANSWERS = Keyspace[str]("answer", version=1)
#: Scenes with their live version, and all models with their providers, by the versions of their
#: rows (chat/services/catalog.py): they are never changed, and processes keep them in another form.
SCENES = Keyspace[str]("scene", version=1, seconds=3600.0, local_seconds=0)
MODELS = Keyspace[str]("models", version=1, seconds=3600.0, local_seconds=0)
#: Which API keys and webhook endpoints an owner has, by their ids; and the slugs of all scenes.
KEY_IDS = Keyspace[int]("key_ids", version=1)
ENDPOINT_IDS = Keyspace[int]("endpoint_ids", version=1)
SLUGS = Keyspace[int]("slugs", version=1)
