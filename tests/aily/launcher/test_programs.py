"""Which processes `make run` starts, by its environment."""

from __future__ import annotations

import pytest

from aily.environment import ConfigurationError
from aily.launcher.programs import Options


@pytest.mark.parametrize(
    ("variable", "value"), [("PORT", "http"), ("PORT", "70000"), ("WEB_PROCESSES", "0")]
)
def test_a_wrong_number_is_refused_by_the_name_of_its_variable(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{variable} must be a number .*{value}"):
        Options.from_environment({variable: value})


def test_given_servers_keep_the_embedded_ones_off() -> None:
    given = {"DATABASE_URL": "postgres://db.example/aily", "REDIS_URL": "redis://redis.example"}

    assert Options.from_environment(given).services == ()
    assert [service.name for service in Options.from_environment({}).services] == [
        "postgres",
        "valkey",
    ]


def test_a_providers_key_keeps_the_simulator_off() -> None:
    names = [
        program.name for program in Options.from_environment({"DEEPSEEK_API_KEY": "k"}).programs()
    ]

    assert "web" in names
    assert "simulator" not in names


def test_the_exporter_alone_has_the_metrics_port() -> None:
    options = Options.from_environment({"PORT": "9000"})
    [exporter] = [program for program in options.programs() if program.name == "exporter"]
    assert exporter.command[-4:] == ["--host", "127.0.0.1", "--port", "9002"]
    assert options.child_environment()["METRICS_PORT"] == "0"
    without = Options.from_environment({"METRICS_PORT": "0"})
    assert "exporter" not in [program.name for program in without.programs()]
    assert "PROMETHEUS_MULTIPROC_DIR" not in without.child_environment()


def test_the_demo_mcp_server_runs_beside_the_simulator() -> None:
    given: list[tuple[dict[str, str], list[str]]] = [
        ({"PORT": "9000"}, ["9010"]),
        ({"DEMO_MCP_PORT": "9100"}, ["9100"]),
        ({"DEMO_MCP_PORT": "0"}, []),
        ({"DEEPSEEK_API_KEY": "k"}, []),
    ]
    for environment, ports in given:
        programs = Options.from_environment(environment).programs()
        demos = [program for program in programs if program.name == "demo-mcp"]
        assert [program.command[-1] for program in demos] == ports
        # The start waits for no demo.
        assert all(program.deferred for program in demos)
