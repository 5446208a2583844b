"""A worker is killed in the midst of an import: nothing half, nothing doubled, nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from django.db import connection

from accounts.models import User
from chat.tables.imports import applying, working
from chat.tables.models import Change, Import, Table
from tests.chat.tables.conftest import Grid, Grids
from tests.chat.tables.transfers import Imports, rows_of, work
from tests.conftest import ClientOf

#: A worker that kills itself where the test says so.
_WORKER = """
import os, signal, django
django.setup()
from django.db import connection
connection.settings_dict["NAME"] = {database!r}
from chat.tables.imports import applying, loading
from chat.tables.transfers.working import work_on_next

def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

loading.CHUNK_ROWS = 20
if {where!r} == "loading":
    chunks = []
    write = loading.Loader._write
    def counted(self, rows):
        write(self, rows)
        chunks.append(rows)
        if len(chunks) == 3:
            die()
    loading.Loader._write = counted
else:
    applying.{where} = die
work_on_next()
"""


@pytest.fixture
def grid(grids: Grids) -> Grid:
    grid = grids.make("Rows", Key="text", Value="integer")
    grid.create({"Key": "k-0", "Value": -1}, {"Key": "other", "Value": -2})
    return grid


@pytest.mark.parametrize(
    "where",
    [
        "loading",
        "record",
        *(pytest.param(where, marks=pytest.mark.slow) for where in ("_lock", "_end")),
    ],
)
def test_a_killed_import_is_carried_out_once(
    where: str, grid: Grid, alice: User, client_of: ClientOf
) -> None:
    imports = Imports(client_of(alice))
    content = "Key,Value\n" + "".join(f"k-{n},{n}\n" for n in range(100))
    job = imports.inspected(content, table=grid)
    imports.patch(job, mode="upsert", key_field=grid.key("Key"))
    imports.act(job, "start")
    script = _WORKER.format(database=connection.settings_dict["NAME"], where=where)
    died = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "aily.settings"},
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert len(rows_of(imports.client, grid.id)) == 2
    # Not before its lease has run out.
    work()
    assert imports.get(job)["state"] == "running"
    Import.objects.update(lease_until="2026-01-01T00:00:00Z")
    work()
    job = imports.get(job)
    assert (job["state"], job["created_rows"], job["updated_rows"]) == ("done", 99, 1)
    values = {row["Key"]: row["Value"] for row in rows_of(imports.client, grid.id)}
    assert values == {"other": -2, **{f"k-{n}": n for n in range(100)}}
    assert Table.objects.get(pk=grid.id).row_count == 101
    assert Change.objects.filter(kind="import").count() == 1


def test_a_worker_that_has_lost_its_lease_changes_nothing(
    grid: Grid, alice: User, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    imports = Imports(client_of(alice))
    job = imports.inspected("Key\nx\n", table=grid)
    imports.act(job, "start")
    apply = applying.apply

    def late(*args: object) -> None:
        Import.objects.update(lease="01234567-89ab-4cde-8f01-23456789abcd")
        apply(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(working, "apply", late)
    work()
    assert len(rows_of(imports.client, grid.id)) == 2
    monkeypatch.undo()
    Import.objects.update(lease_until=None)
    work()
    assert (imports.get(job)["state"], len(rows_of(imports.client, grid.id))) == ("done", 3)
