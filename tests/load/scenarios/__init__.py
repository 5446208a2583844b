"""What the bench can measure. A scenario is a subclass of Scenario in a module here."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

from tests.load.scenarios.scenario import Scenario


def _found() -> Iterator[type[Scenario]]:
    for module in pkgutil.iter_modules(__path__):
        for value in vars(import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Scenario) and "name" in vars(value):
                yield value


SCENARIOS: dict[str, type[Scenario]] = {scenario.name: scenario for scenario in _found()}
