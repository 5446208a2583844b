"""Runs, batches and files of `/v1`."""

from __future__ import annotations

from aily.settings.environment import GIBIBYTE, env

# Largest file of a run, number of its rows, and size of one row.
RUN_MAX_FILE_BYTES = env.integer(
    "RUN_MAX_FILE_BYTES", default=209_715_200, minimum=1024, maximum=GIBIBYTE
)
RUN_MAX_ROWS = env.integer("RUN_MAX_ROWS", default=100_000, minimum=1, maximum=1_000_000)
RUN_MAX_ROW_BYTES = env.integer("RUN_MAX_ROW_BYTES", default=1_048_576, minimum=256, maximum=2**26)
# Tasks of one run that are queued or running at the most.
RUN_WINDOW = env.integer("RUN_WINDOW", default=2000, minimum=1, maximum=20_000)
# Tasks that one row may use up by errors that pass, such as 429; each has TASK_MAX_FAILURES calls.
RUN_ROW_TRIES = env.integer("RUN_ROW_TRIES", default=10, minimum=1, maximum=1000)
# Runs of one user that have not ended.
RUNS_MAX_PER_USER = env.integer("RUNS_MAX_PER_USER", default=20, minimum=1)
# Days after its end for which a run is kept, with its rows and tasks. 0: for ever.
RUN_RETENTION_DAYS = env.number("RUN_RETENTION_DAYS", default=0, maximum=36_500)
# Lines of the file of one batch of /v1/batches, and bytes of all files of one user under /v1/files.
BATCH_MAX_LINES = env.integer("BATCH_MAX_LINES", default=50_000, minimum=1, maximum=1_000_000)
FILES_MAX_BYTES_PER_USER = env.integer(
    "FILES_MAX_BYTES_PER_USER", default=10 * GIBIBYTE, minimum=1024, maximum=2**50
)
