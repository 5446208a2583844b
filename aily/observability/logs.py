"""Log lines, as text or JSON: context in each, secrets and rows in none."""

from __future__ import annotations

import logging
import re
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from aily.observability import context, metrics

#: Lines in which PostgreSQL quotes a refused row or statement, prompts included.
_QUOTED = re.compile(r"^(\s*)(DETAIL|CONTEXT|QUERY|STATEMENT|LINE \d+):.*$", re.MULTILINE)
#: Bearer tokens, aily's own keys, providers' keys, webhooks' secrets, passwords in URLs.
_SECRET = re.compile(
    r"(?<=Bearer )\S+|\baily_[\w-]{40,}|\bsk-[\w-]{16,}|\bwhsec_[\w+/=-]+|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"
)
#: Loggers that write requests and statements at DEBUG, contents included.
_TALKATIVE = (
    "django.db.backends",
    "psycopg",
    "httpcore",
    "aiohttp",
    "httpx",
    "apscheduler",
    "asyncio",
)


class Context(logging.Filter):
    """Adds the ids of the request, task and worker that a line is about."""

    def filter(self, record: logging.LogRecord) -> bool:
        found = {
            "request_id": context.request_id.get(),
            "task_id": context.task_id.get(),
            "worker": context.worker_id(),
        }
        for name, value in found.items():
            # A line's own `extra` takes precedence.
            if value and not hasattr(record, name):
                setattr(record, name, value)
        return True


def redacted(line: str) -> str:
    """The line without secrets, and without what PostgreSQL quotes."""
    line = _SECRET.sub("[redacted]", line)
    return _QUOTED.sub(r"\1\2: [redacted]", line) if "\n" in line else line


class TextLines(logging.Formatter):
    """For people: `time level logger message request_id=… task_id=…`, and a traceback."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        ids = {name: getattr(record, name, "") for name in ("request_id", "task_id")}
        words = [f"{name}={value}" for name, value in ids.items() if value]
        return " ".join([super().formatMessage(record), *words])

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class JsonLines(JsonFormatter):
    """For machines: one object a line."""

    def add_fields(
        self,
        log_data: dict[str, Any],
        record: logging.LogRecord,
        message_dict: dict[str, Any],
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data["process"] = metrics.process_name()
        for name, value in log_data.items():
            if isinstance(value, str):
                log_data[name] = redacted(value)


def configuration(level: str, kind: str) -> dict[str, Any]:
    """`settings.LOGGING`. `kind` is json or text."""
    formatters = {
        "text": {"()": TextLines, "format": "%(asctime)s %(levelname)s %(name)s %(message)s"},
        "json": {
            "()": JsonLines,
            "fmt": "%(levelname)s %(name)s %(message)s %(process)d",
            "timestamp": "time",
            "rename_fields": {
                "levelname": "level",
                "name": "logger",
                "process": "pid",
                "exc_info": "exception",
            },
        },
    }
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": formatters,
        "filters": {"context": {"()": Context}},
        "handlers": {
            "console": {
                "class": "logging.StreamHandler",
                "formatter": kind,
                "filters": ["context"],
            }
        },
        "root": {"handlers": ["console"], "level": level},
        "loggers": {name: {"level": _at_least_warning(level)} for name in _TALKATIVE},
    }


def _at_least_warning(level: str) -> str:
    return level if level in ("ERROR", "CRITICAL") else "WARNING"
