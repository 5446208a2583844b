"""What else than tasks and runs a socket can follow: registered by the apps that have it.

A follower gives frames for as long as it is asked, and raises a Problem where there is nothing to
follow, or no longer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

from accounts.models import User

#: Follows something for a user, as the frame that asks for it says.
Follower = Callable[[User, Any], AsyncGenerator[msgspec.Struct]]

_followers: dict[str, Follower] = {}


def register_follower(frame_type: str, follower: Follower) -> None:
    """Have `follower` answer frames of this type. To be called in `AppConfig.ready`."""
    _followers[frame_type] = follower


def follower_of(frame_type: str) -> Follower:
    return _followers[frame_type]
