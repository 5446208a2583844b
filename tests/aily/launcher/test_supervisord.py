"""supervisord's log files while the disk is full."""

from __future__ import annotations

from pathlib import Path

import pytest
from supervisor import loggers

from aily.launcher.supervisord import LossyFile
from tests.full_disk import fill, make_room, small_disk


def test_a_log_loses_lines_on_a_full_disk_and_goes_on_when_there_is_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        log = disk / "program.log"
        handler = LossyFile(str(log), maxBytes=2000, backupCount=2)
        logger = loggers.Logger(handlers=[handler])
        logger.info("before\n")
        fill(disk)
        for _ in range(500):
            logger.info(f"lost {'x' * 200}\n")  # noqa: G004 (supervisor's logger)
        make_room(disk)
        for number in range(200):
            logger.info("after %(number)d\n", number=number)
        handler.close()
        assert "after 199" in log.read_text()
        # Bounded: the file, and two before it.
        assert sum(path.stat().st_size for path in disk.glob("program.log*")) < 4 * 2000
    assert capsys.readouterr().err == ""
