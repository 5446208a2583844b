"""What the bench can measure. A scenario is one module here that holds one subclass of Scenario."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

from tests.load.scenarios.scenario import Scenario


def _found() -> Iterator[type[Scenario]]:
    for module in pkgutil.iter_modules(__path__):
        for one in vars(import_module(f"{__name__}.{module.name}")).values():
            if isinstance(one, type) and issubclass(one, Scenario) and "name" in vars(one):
                yield one


SCENARIOS: dict[str, type[Scenario]] = {one.name: one for one in _found()}
