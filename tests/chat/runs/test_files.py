"""Files as people have them: encodings, delimiters, broken lines, and what is refused."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import tracemalloc
import zipfile

import pytest
from pytest_django import Settings

from chat.models import Run, RunRow, Scene, StoredFile
from tests.chat.runs.conftest import RUNS, Json, RunClient, turn

TABLE = "编号,正文\n1,你好，世界\n2,多维表格 😀\n"


def rows_of(run_id: str) -> list[tuple[int, str, Json | None, str | None]]:
    """Line, state, payload and the error's code of each row."""
    return [
        (row.line, row.state, row.payload, row.error and row.error["code"])
        for row in RunRow.objects.filter(run_id=run_id).order_by("number")
    ]


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (TABLE.encode(), "utf-8"),
        (codecs.BOM_UTF8 + TABLE.encode(), "utf-8"),
        (TABLE.encode("gb18030"), "gb18030"),
        (codecs.BOM_UTF16_LE + TABLE.encode("utf-16-le"), "utf-16-le"),
        (codecs.BOM_UTF16_BE + TABLE.encode("utf-16-be"), "utf-16-be"),
        (TABLE.replace("\n", "\r\n").encode(), "utf-8"),
        (TABLE.replace("\n", "\r").encode(), "utf-8"),
        (codecs.BOM_UTF8 * 2 + TABLE.encode(), "utf-8"),
        (TABLE.replace("\n", "\n\ufeff").encode(), "utf-8"),
        (f"sep=,\n{TABLE}".encode(), "utf-8"),
    ],
    ids=[
        *("utf-8", "utf-8 with a mark", "gb18030", "utf-16-le", "utf-16-be", "crlf"),
        *("cr", "two marks", "a mark before each line", "excel's delimiter"),
    ],
)
def test_encodings_are_recognised(runs: RunClient, content: bytes, encoding: str) -> None:
    made = runs.create(content)
    turn()
    found = runs.get(made["id"])
    assert (found["state"], found["encoding"]) == ("ready", encoding)
    assert found["columns"] == ["编号", "正文"]
    assert [payload for _, _, payload, _ in rows_of(made["id"])] == [
        {"编号": "1", "正文": "你好，世界"},
        {"编号": "2", "正文": "多维表格 😀"},
    ]


def test_utf16_without_a_mark_is_recognised(runs: RunClient) -> None:
    made = runs.create("id,text\n1,hello\n".encode("utf-16-le"))
    turn()
    assert runs.get(made["id"])["encoding"] == "utf-16-le"
    assert rows_of(made["id"]) == [(2, "pending", {"id": "1", "text": "hello"}, None)]


def test_a_wrong_encoding_is_told(runs: RunClient) -> None:
    made = runs.create(TABLE.encode("gb18030"), encoding="utf-8")
    turn()
    found = runs.get(made["id"])
    assert (found["state"], found["reason"]) == ("failed", "invalid_file")
    [error] = found["errors"]
    assert (error["code"], error["line"]) == ("invalid_encoding", 1)
    assert error["params"] == {"encoding": "UTF-8"}


@pytest.mark.parametrize("delimiter", [";", "\t", "|", ","])
def test_delimiters_are_recognised(runs: RunClient, delimiter: str) -> None:
    table = f'a{delimiter}"b, c; d"\n1{delimiter}"x\ny"\n'
    made = runs.create(table)
    turn()
    assert rows_of(made["id"]) == [(2, "pending", {"a": "1", "b, c; d": "x\ny"}, None)]


@pytest.mark.parametrize("pieces", [7, 1_000])
def test_a_header_may_have_several_lines(
    runs: RunClient, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    monkeypatch.setattr("chat.runs.creation.PIECE_BYTES", pieces)
    made = runs.create('id,"the\r\ntext\r\n"\r\n1,x\r\n2,y\r\n')
    turn()
    assert runs.get(made["id"])["columns"] == ["id", "the\r\ntext"]
    assert [(line, payload) for line, _, payload, _ in rows_of(made["id"])] == [
        (4, {"id": "1", "the\r\ntext": "x"}),
        (5, {"id": "2", "the\r\ntext": "y"}),
    ]


def test_each_bad_line_of_a_table_is_told(runs: RunClient, settings: Settings) -> None:
    settings.RUN_MAX_ROW_BYTES = 300
    lines = [
        "id, text", "1,good", "2", "3,too,many", "id, text", "4,nul\0", f"5,{'x' * 400}", '6,"a"b',
        "", "7,good", '8,"never closed',
    ]  # fmt: skip
    made = runs.create("\n".join(lines) + "\n", key_column="id")
    turn()
    assert [(line, state, code) for line, state, _, code in rows_of(made["id"])] == [
        (2, "pending", None),
        (3, "invalid", "wrong_column_count"),
        (4, "invalid", "wrong_column_count"),
        (5, "invalid", "repeated_header"),
        (6, "invalid", "invalid_character"),
        (7, "invalid", "row_too_large"),
        (8, "invalid", "invalid_csv"),
        (10, "pending", None),
        (11, "invalid", "invalid_csv"),
    ]
    found = runs.get(made["id"])
    assert found["counts"]["invalid"] == 7
    assert found["errors"][-1]["message"] == "This is not valid CSV: a quote is not closed."


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        ("a,b,a\n1,2,3\n", "duplicate_column", 1),
        ("a,b\n", "empty_file", None),
        ("\n\n", "empty_file", None),
        (",".join(f"c{n}" for n in range(300)) + "\n1\n", "too_many_columns", 1),
        ("a\0b,c\n" + "1111,2222\n" * 9, "invalid_character", 1),
        (f"a,{'b' * 2_000}\n1,2\n3,4\n", "row_too_large", 1),
        ('a,"b\n1,2\n', "invalid_csv", 1),
    ],
    ids=[
        *("a column twice", "only a header", "only empty lines", "300 columns"),
        *("U+0000 in the header", "a long header", "a quote in the header"),
    ],
)
def test_what_is_wrong_with_a_file_ends_its_run(
    runs: RunClient, settings: Settings, content: str, code: str, line: int | None
) -> None:
    settings.RUN_MAX_ROW_BYTES = 1_900
    made = runs.create(content)
    turn()
    found = runs.get(made["id"])
    assert (found["state"], found["reason"]) == ("failed", "invalid_file")
    assert [(error["code"], error["line"]) for error in found["errors"]] == [(code, line)]
    assert found["counts"]["total"] == 0
    assert not RunRow.objects.exists()
    assert not StoredFile.objects.exists()


def test_a_file_without_a_valid_line_ends_its_run(runs: RunClient) -> None:
    made = runs.create("{broken\n[1]\n", "rows.jsonl")
    turn()
    found = runs.get(made["id"])
    assert (found["state"], found["reason"]) == ("failed", "invalid_file")
    assert [error["line"] for error in found["errors"]] == [1, 2]


def test_too_many_rows_leave_nothing(runs: RunClient, settings: Settings) -> None:
    settings.RUN_MAX_ROWS = 600
    made = runs.create("text\n" + "x\n" * 601)
    turn()
    found = runs.get(made["id"])
    assert (found["state"], found["errors"][0]["code"]) == ("failed", "too_many_rows")
    assert not RunRow.objects.exists()


def _zip() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.csv", b"text\n" + b"x\n" * 1_000_000)
    return content.getvalue()


@pytest.mark.parametrize(
    "content", [_zip(), gzip.compress(b"x\n" * 1_000_000)], ids=["zip", "gzip"]
)
def test_what_is_packed_is_refused_before_anything_is_unpacked(
    runs: RunClient, content: bytes
) -> None:
    tracemalloc.start()
    problem = runs.create(content, status=400)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert problem["errors"][0]["field"] == "file"
    assert peak < 10_000_000
    assert not Run.objects.exists()
    assert not StoredFile.objects.exists()


def test_a_file_over_the_limit_is_refused(runs: RunClient, settings: Settings) -> None:
    settings.RUN_MAX_FILE_BYTES = 5_000
    problem = runs.create("text\n" + "x" * 5_000, status=413)
    assert problem["errors"][0]["field"] == "file"
    assert not Run.objects.exists()
    assert not StoredFile.objects.exists()
    runs.create("", status=400)


def test_a_file_of_several_pieces_is_read_whole(
    runs: RunClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Pieces end within characters and lines.
    monkeypatch.setattr("chat.runs.creation.PIECE_BYTES", 7)
    made = runs.create(TABLE.encode())
    turn()
    assert [payload["正文"] for _, _, payload, _ in rows_of(made["id"]) if payload] == [
        "你好，世界", "多维表格 😀",
    ]  # fmt: skip


def test_requests_are_checked_line_by_line(runs: RunClient) -> None:
    ask = [{"role": "user", "content": "x"}]
    lines: list[Json] = [
        {"messages": ask},
        {"messages": []},
        {"messages": ask, "temperature": 9},
        {"messages": ask, "misspelt": 1},
        {"custom_id": "a", "body": {"messages": ask}},
        {"body": [1]},
        {"messages": ask, "conversation_id": "0198c0de-9c33-7000-8000-0123456789ab"},
    ]
    made = runs.create("\n".join(map(json.dumps, lines)), "rows.jsonl")
    turn()
    rows = RunRow.objects.order_by("number")
    assert [(row.state, (row.error or {}).get("param")) for row in rows] == [
        ("pending", None),
        ("invalid", "messages"),
        ("invalid", "temperature"),
        ("invalid", "misspelt"),
        ("pending", None),
        ("invalid", "body"),
        ("invalid", "conversation_id"),
    ]
    assert runs.get(made["id"])["counts"]["pending"] == 2


def test_validating_begins_again_where_a_process_died(
    runs: RunClient, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = runs.create("text\n" + "x\n" * 1_200)
    died = RuntimeError("killed")
    insert = "chat.runs.validating.insert"
    calls = []

    def dies_in_the_second_chunk(*args: object) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise died
        return real(*args)  # type: ignore[arg-type]

    from chat.models.insertion import insert as real

    monkeypatch.setattr(insert, dies_in_the_second_chunk)
    turn()
    assert runs.get(made["id"])["state"] == "validating"
    monkeypatch.setattr(insert, real)
    turn()
    found = runs.get(made["id"])
    assert (found["state"], found["counts"]["total"]) == ("ready", 1_200)
    assert RunRow.objects.count() == 1_200


# --- Forms --------------------------------------------------------------------------------------
_PART = 'Content-Disposition: form-data; name="{}"; filename="{}.csv"\r\n\r\ntext\r\n'


@pytest.mark.parametrize(
    ("body", "boundary"),
    [
        (f"--b\r\n{_PART.format('file', 'a')}--b--\r\n", ""),
        (f"--b\r\n{_PART.format('file', 'n' * 3_000)}--b--\r\n", "; boundary=b"),
        (
            "".join(f"--b\r\n{_PART.format(f'f{n}', 'a')}" for n in range(200)) + "--b--\r\n",
            "; boundary=b",
        ),
    ],
    ids=["no boundary", "a long name", "many files"],
)
def test_a_form_that_cannot_be_read_is_refused(runs: RunClient, body: str, boundary: str) -> None:
    content_type = f"multipart/form-data{boundary}"
    response = runs.client.generic("POST", RUNS, body.encode(), content_type)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")
    assert "form" in response.json()["detail"]
    assert not Run.objects.exists()


def test_a_form_with_many_fields_is_refused(runs: RunClient) -> None:
    fields = {f"field{number}": "x" for number in range(1_001)}
    refused = runs.create("text\nx\n", status=400, **fields)
    assert refused["detail"] == "This form has too many fields."
