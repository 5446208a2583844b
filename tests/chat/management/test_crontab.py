"""The schedule: each job that it rings is known to the workers."""

from __future__ import annotations

import json
import subprocess
import sys

from aily.launcher.programs import BASE_DIR

_CODE = """
import json
import aily.worker
known = set(aily.worker.broker.get_declared_actors())
from chat.management.commands.crontab import SCHEDULE
print(json.dumps([[actor.actor_name, actor.actor_name in known] for actor, _ in SCHEDULE]))
"""


def test_a_worker_knows_every_job() -> None:
    """A message for a job that no module of the worker declares would be thrown away."""
    done = subprocess.run(
        [sys.executable, "-c", _CODE], cwd=BASE_DIR, capture_output=True, text=True, check=True
    )
    jobs = dict(json.loads(done.stdout))
    assert {"sweep", "refresh_tools"} <= jobs.keys()
    assert [name for name, is_known in jobs.items() if not is_known] == []
