"""Answers checked against schemas: where the JSON is, and which values fit."""

from __future__ import annotations

from typing import Any

import pytest

from chat.rendering.output import LITTLE_CHARS, OutputSchema

ANY: dict[str, Any] = {}
OBJECT: dict[str, Any] = {"type": "object", "required": ["a"]}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": 1}', '{"a": 1}'),
        (' \n{"a": 1}\n', ' \n{"a": 1}\n'),
        ('```json\n{"a": 1}\n```', '{"a": 1}'),
        ('```JSON\r\n{"a": 1}\r\n```', '{"a": 1}'),
        ('```json{"a": 1}```', '{"a": 1}'),
        ('Two:\n```json\n{"b": 1}\n```\nand\n```json\n{"a": 1}\n```', '{"a": 1}'),
        ('```python\nprint({})\n```\n{"a": 1}', None),
        ('Sure: {"a": "}"}.', '{"a": "}"}'),
        ('{"a": 1} {"a": 2}', None),
        ('\ufeff{"a": 1}', '{"a": 1}'),
        ('<think>{"b": {2}?</think>\n\n{"a": 1}', '\n\n{"a": 1}'),
        ('<think>Hm</think>```json\n{"a": 1}\n```', '{"a": 1}'),
        ('{"a": 1', None),
        ('{"b": "```"}', None),
        ("", None),
    ],
)
def test_the_json_of_an_answer(text: str, found: str | None) -> None:
    assert OutputSchema(OBJECT).check(text).text == found


def test_of_a_text_that_is_json_no_part_is_taken() -> None:
    assert OutputSchema(OBJECT).check('[{"a": 1}]').text is None
    assert OutputSchema(OBJECT).check('"```json\\n{\\"a\\": 1}\\n```"').text is None


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", ["2024-02-29"], ["2023-02-29", "2024-2-9", "20240229", "2024-W01-1"]),
        (
            "date-time",
            ["2024-02-29T23:59:60Z", "2024-02-29t10:00:00.5+02:00"],
            ["2024-02-29", "2024-02-29T10:00:00", "2024-02-30T10:00:00Z"],
        ),
        ("time", ["10:00:00Z", "10:00:00.123-05:30"], ["10:00", "25:00:00Z"]),
        ("duration", ["P1D", "PT5M", "P1Y2M3DT4H", "P2W"], ["P", "PT", "1D", "P1DT"]),
        ("email", ["a@example.com"], ["a", "a@", "a b@example.com", "a@-x"]),
        ("hostname", ["example.com"], ["-a", "a..b", "a_b"]),
        ("ipv4", ["192.0.2.1"], ["192.0.2.256", "1.2.3", "01.2.3.4"]),
        ("ipv6", ["::1", "2001:db8::1"], ["1.2.3.4", ":::", "fe80::1%eth0"]),
        ("uuid", ["0198c0de-9c33-7000-8000-0123456789ab"], ["0198c0de9c3370008000", "x"]),
        ("regex", ["(", "anything"], []),
    ],
)
def test_formats_of_strict_mode_are_checked(name: str, good: list[str], bad: list[str]) -> None:
    schema = OutputSchema({"type": ["string", "number"], "format": name})
    for text in good:
        assert schema.check(f'"{text}"').text, text
    for text in bad:
        assert schema.check(f'"{text}"').text is None, text
    assert schema.check("5").text == "5"


def test_what_may_be_much_work_is_left_to_a_process() -> None:
    one_of = OutputSchema({"anyOf": [{"type": "null"}, {"type": "string"}]})
    assert one_of.check_if_little_work("null") is None
    assert OutputSchema(OBJECT).check_if_little_work('{"a": 1}')
    long = '{"a": "' + "x" * LITTLE_CHARS + '"}'
    assert OutputSchema(OBJECT).check_if_little_work(long) is None
    assert OutputSchema(ANY).check(long).text == long


def test_errors_are_few_and_short_and_those_of_the_nearest_alternative() -> None:
    schema: dict[str, Any] = {
        "properties": {
            "pet": {
                "anyOf": [
                    {"type": "null"},
                    {"type": "object", "properties": {"legs": {"type": "integer"}}},
                ]
            },
            **{f"p{number}": {"const": 1} for number in range(9)},
        }
    }
    wrong = {f"p{number}": "x" * 1_000 for number in range(9)}
    answer = str({"pet": {"legs": "four"}, **wrong}).replace("'", '"')
    errors = OutputSchema(schema).check(answer).errors
    assert errors[0] == "$.pet.legs: 'four' is not of type 'integer'"
    assert len(errors) == 5
    assert max(map(len, errors)) <= 200
