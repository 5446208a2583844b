"""Other gateways, each installed on demand and pinned: none of them queues or stores a call."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from rich.console import Console

from tests.load.comparison.contenders import INSTALLED, Program
from tests.load.recording import MODEL
from tests.ports import free_ports

_UV = Path(sys.executable).with_name("uv")


class PythonRival(Program):
    """One from PyPI, in a virtual environment of its own."""

    requirement: ClassVar[str]

    @classmethod
    def directory(cls) -> Path:
        return INSTALLED / cls.requirement

    @classmethod
    def install(cls, console: Console) -> None:
        done = cls.directory() / "installed"
        if done.exists():
            return
        console.print(f"installing {cls.requirement} (once) …")
        venv.create(cls.directory(), clear=True)
        python = str(cls.directory() / "bin" / "python")
        subprocess.run(
            [_UV, "pip", "install", "--quiet", "--python", python, cls.requirement], check=True
        )
        done.touch()

    @property
    def programs(self) -> Path:
        return self.directory() / "bin"


class LiteLLM(PythonRival):
    """LiteLLM's proxy."""

    name = "litellm"
    about = "LiteLLM's proxy (Python): stores nothing"
    requirement = "litellm[proxy]==1.108.7"
    ready_path = "/health/liveliness"
    _config = """\
model_list:
  - model_name: {model}
    litellm_params: {{model: "openai/{model}", api_base: "{url}/v1", api_key: "none"}}
litellm_settings: {{num_retries: 0, request_timeout: 600}}
"""

    def start(self) -> None:
        self._key = f"sk-{secrets.token_hex(32)}"
        super().start()

    def command(self) -> list[str]:
        config = self.scratch / "litellm.yaml"
        config.write_text(self._config.format(model=MODEL, url=self.simulator_url))
        return [
            *(str(self.programs / "litellm"), "--config", str(config), "--host", "127.0.0.1"),
            # With more workers its supervisor kills those that a busy machine lets answer late.
            *("--port", str(self.port), "--num_workers", "1", "--telemetry", "False"),
        ]

    def environment(self) -> Mapping[str, str]:
        # Prices from its package, not from the network.
        return {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": self._key}

    def request_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"}


class SglangRouter(PythonRival):
    """sglang-router: a router in Rust, the limit of what passing on costs."""

    name = "sglang-router"
    about = "sglang-router (Rust): stores nothing, knows no keys"
    requirement = "sglang-router==0.3.2"
    ready_path = "/liveness"

    def command(self) -> list[str]:
        return [
            *(str(self.programs / "smg"), "launch", "--backend", "openai"),
            *("--worker-urls", self.simulator_url, "--host", "127.0.0.1"),
            *("--port", str(self.port), "--prometheus-port", str(free_ports(1)[0])),
        ]


_PORTKEY_PACKAGE = {
    "private": True,
    "dependencies": {"node": "22.23.3", "@portkey-ai/gateway": "1.15.2"},
    # Behind newer ones its streams fail with "TypeError: immutable".
    "overrides": {"@hono/node-server": "1.14.1"},
}


class Portkey(Program):
    """Portkey's gateway on Node, both from npm."""

    name = "portkey"
    about = "Portkey's gateway (Node): stores nothing, knows no keys"
    ready_path = "/"
    _directory = INSTALLED / "portkey-1.15.2"

    @classmethod
    def install(cls, console: Console) -> None:
        done = cls._directory / "installed"
        if done.exists():
            return
        console.print("installing Portkey's gateway (once) …")
        cls._directory.mkdir(parents=True, exist_ok=True)
        (cls._directory / "package.json").write_text(json.dumps(_PORTKEY_PACKAGE))
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund"]
        subprocess.run(npm, cwd=cls._directory, check=True)
        done.touch()

    def command(self) -> list[str]:
        modules = self._directory / "node_modules"
        server = modules / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        node = modules / "node" / "bin" / "node"
        return [str(node), str(server), f"--port={self.port}", "--headless"]

    def request_headers(self) -> dict[str, str]:
        return {
            "Authorization": "Bearer none",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{self.simulator_url}/v1",
        }
