"""What the bench can measure: one module a scenario, listed in `SCENARIOS`."""

from tests.load.scenarios.flight import Flight
from tests.load.scenarios.scenario import Scenario
from tests.load.scenarios.submit import Submit

SCENARIOS: dict[str, type[Scenario]] = {one.name: one for one in (Flight, Submit)}
