"""Problems: what a refusal says."""

from __future__ import annotations

from aily.problems import Problem, Unavailable
from tests.aily.problem_answers import answer_to, assert_problem


def test_a_problem_names_its_field_and_when_to_come_back() -> None:
    problem = Unavailable("Redis is away.", field="variables.text", retry_after_seconds=5)
    response = answer_to(problem)
    body = assert_problem(response, 503, "unavailable")
    assert response["Retry-After"] == "5"
    assert body["errors"] == [{"field": "variables.text", "message": "Redis is away."}]


def test_the_code_of_a_problem_is_that_of_its_class() -> None:
    class Odd(Problem):
        code, status, title = "odd", 418, "Odd"

    assert_problem(answer_to(Odd("odd")), 418, "odd")
