"""`python run.py MODULE CASE`: runs one function of a module beside it. An exception fails it."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys

if __name__ == "__main__":
    module, name = sys.argv[1:]
    result = getattr(importlib.import_module(module), name)()
    if inspect.isawaitable(result):
        asyncio.run(result)
