"""A process that submits tasks as fast as it can, on several threads in small batches.

Says "ready", waits for a line on stdin, so that several of these begin at the same moment, and
prints how many tasks were accepted.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import django

django.setup()

from django.db import close_old_connections, connections  # noqa: E402 - the models need Django set up

from accounts.models import User  # noqa: E402
from chat.services.submit import Accepted, submit_many  # noqa: E402
from tests.chat.accounting.conftest import submission  # noqa: E402

THREADS = 4
#: As many as arrive together when a web process is busy.
BATCH = 5


def main(database: str, owner_id: int, submits: int) -> None:
    connections.settings["default"]["NAME"] = database
    owner = User.objects.get(pk=owner_id)

    def submit(count: int) -> int:
        outcomes = submit_many([submission(owner) for _ in range(count)])
        close_old_connections()
        return sum(isinstance(outcome, Accepted) for outcome in outcomes)

    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    with ThreadPoolExecutor(THREADS) as executor:
        accepted = sum(executor.map(submit, [BATCH] * (submits // BATCH)))
    sys.stdout.write(f"{accepted}\n")


main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
