"""The `error` of tasks that failed although no provider is to blame."""

from __future__ import annotations

INTERNAL = {"code": "internal", "message": "aily itself failed."}
MODEL_DISABLED = {"code": "model_disabled", "message": "Its model is disabled."}
WORKER_LOST = {"code": "worker_lost", "message": "Its worker died too often while running it."}
