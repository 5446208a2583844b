"""What `make run` shows: a line a step, complaints apart from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from aily.launcher.progress import Progress


def test_a_step_is_one_line_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    with progress.step("starting [servers]"):
        progress.print_line("ready http://127.0.0.1:8000")
    output = capsys.readouterr()
    said, step = output.out.splitlines()
    assert said == "ready http://127.0.0.1:8000"
    assert step.split() == ["starting", "[servers]", step.split()[-2], "s"]
    assert output.err == ""


def test_a_step_that_fails_is_not_reported_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    with pytest.raises(ValueError, match="odd"), progress.step("starting"):
        raise ValueError("odd")
    assert capsys.readouterr().out == ""


def test_the_end_of_a_log_goes_to_stderr(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    log = tmp_path / "web-0.log"
    log.write_bytes(b"\n".join(b"line %d \xff" % number for number in range(100)))
    progress = Progress()
    progress.show_log(log)
    progress.show_log(tmp_path / "none")
    output = capsys.readouterr()
    assert output.out == ""
    assert "line 99 \ufffd" in output.err
    assert "line 79 " not in output.err
    assert str(tmp_path / "none") in output.err.replace("\n", "")
