"""Following a task: everything in its log after a cursor, then what comes, to the end."""

from chat.services.follow.follower import Share, follow
from chat.services.follow.state import check_owner, has_nothing_after, load_ended

__all__ = ["Share", "check_owner", "follow", "has_nothing_after", "load_ended"]
