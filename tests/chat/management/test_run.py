"""`manage.py run`: a file from the command line to its results."""

from __future__ import annotations

import csv
import threading
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connections

from accounts.models import User
from aily.database.threads import in_database
from chat.models import Run, Scene
from chat.runner.runtime import Runtime
from chat.services.scenes import create_version, publish
from tests.chat.runs.conftest import turn
from tests.waiting import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def scene(transactional_db: None) -> None:
    scene = Scene.objects.create(slug="echo", title="Echo")
    publish(create_version(scene, None, {"user_template": "{{ text }}"}))


async def test_a_file_is_run_and_its_results_are_written(
    alice: User, scene: None, worker: Runtime, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, output = tmp_path / "rows.csv", tmp_path / "results.csv"
    file.write_text("Body\n" + "".join(f"Text {number}\n" for number in range(12)))

    def run() -> None:
        try:
            call_command(
                "run", str(file), user="alice", scene="echo", mapping=["text=Body"], rows=3,
                output=output, yes=True,
            )  # fmt: skip
        finally:
            connections.close_all()

    command = threading.Thread(target=run)
    command.start()

    def over() -> bool:
        turn()
        return not command.is_alive()

    await eventually(lambda: in_database(over))
    command.join()
    run_row = await in_database(Run.objects.get)
    assert (run_row.state, run_row.succeeded) == ("done", 12)
    with output.open(encoding="utf-8-sig") as found:
        rows = list(csv.DictReader(found))
    assert [row["Body"] for row in rows] == [f"Text {number}" for number in range(12)]
    assert all(row["result"] for row in rows)
    said = capfd.readouterr().out
    assert "12 rows, 0 of them invalid" in said
    assert "done: 12 succeeded, 0 failed" in said


@pytest.mark.parametrize("amount", ["much", "nan", "inf", "-1"])
def test_a_limit_that_is_no_amount_is_told(alice: User, tmp_path: Path, amount: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text\nx\n")
    with pytest.raises(CommandError, match="max-cost"):
        call_command("run", str(file), "--user", "alice", f"--max-cost={amount}")
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"user": "nobody"}, "nobody"),
        ({"user": "alice", "scene": "nowhere"}, "scene"),
        ({"user": "alice", "mapping": ["text"]}, "VARIABLE=COLUMN"),
    ],
)
def test_what_cannot_be_run_is_told(
    alice: User, tmp_path: Path, options: dict[str, object], words: str
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text\nx\n")
    with pytest.raises(CommandError, match=words):
        call_command("run", str(file), **options)
    assert not Run.objects.exists()
