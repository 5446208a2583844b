"""`manage.py pauses [--lift NAME] [--lift-all]`."""

from __future__ import annotations

from django.core.management.base import CommandError, CommandParser

from aily.management.operator_command import OperatorCommand
from aily.redis.errors import RedisUnavailable
from chat.models import LLMModel, Provider
from chat.services import pauses
from chat.services.pauses import Pausable, Pause


def named(name: str) -> list[Pausable]:
    """The model and the provider of this name, or the deployment <model>@<deployment>. Raises
    CommandError where there is none."""
    rows: list[Pausable] = list(LLMModel.objects.filter(name=name))
    rows += Provider.objects.filter(name=name)
    deployment = pauses.find_deployment(name)
    if deployment is not None:
        rows.append(deployment)
    if not rows:
        raise CommandError(f"There is no model, provider or deployment {name!r}.")
    return rows


def lift(row: Pausable) -> bool:
    """Lift all pauses of a model, provider or deployment. False where there was none."""
    if isinstance(row, LLMModel):
        return pauses.lift_model(row)
    if isinstance(row, Provider):
        return pauses.lift_provider(row)
    return pauses.lift_deployment(row)


def describe(pause: Pause) -> str:
    if pause.seconds_left is None:
        return "paused by staff"
    often = f", for the {pause.opened}. time in a row" if pause.opened > 1 else ""
    return f"{pause.seconds_left:g} s left{often}"


class Command(OperatorCommand):
    help = (
        "List what staff have paused, the models whose provider said 429 and the providers that "
        "fail, or have them called again at once. Of a model with several deployments each may be "
        "paused: it is named <model>@<deployment>."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--lift",
            metavar="NAME",
            action="append",
            default=[],
            help="of what is paused",
        )
        which.add_argument("--lift-all", action="store_true", help="all that are paused")

    def handle(self, *, lift: list[str], lift_all: bool, **options: object) -> None:
        try:
            self._handle(lift, lift_all=lift_all)
        except RedisUnavailable as error:
            raise CommandError(f"Redis is away: {error}", returncode=2) from error

    def _handle(self, names: list[str], *, lift_all: bool) -> None:
        if lift_all:
            names = [pause.name for pause in pauses.pauses()]
        for name in names:
            self._lift(name)
        if names:
            return
        found = pauses.pauses()
        for pause in found:
            self.stdout.write(f"{pause.kind} {pause.name}: {describe(pause)}")
        if not found:
            self.stdout.write("nothing is paused")

    def _lift(self, name: str) -> None:
        """Lift the pauses of what has this name."""
        lifted = [lift(row) for row in named(name)]
        self.stdout.write(f"{name}: lifted" if any(lifted) else f"{name}: was not paused")
