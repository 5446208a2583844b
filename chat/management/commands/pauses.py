"""`manage.py pauses [--lift NAME] [--lift-all]`."""

from __future__ import annotations

from django.core.management.base import BaseCommand, CommandError, CommandParser

from aily.redis.errors import RedisUnavailable
from chat.models import LLMModel, Provider
from chat.services import pauses


class Command(BaseCommand):
    help = (
        "List the models that are paused (their provider said 429) and the providers that are left "
        "alone (they fail), or have them called again at once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--lift", metavar="NAME", action="append", default=[], help="of a model or a provider"
        )
        which.add_argument("--lift-all", action="store_true", help="all that are paused")

    def handle(self, *, lift: list[str], lift_all: bool, **options: object) -> None:
        try:
            self._handle(lift, lift_all=lift_all)
        except RedisUnavailable as error:
            raise CommandError(f"Redis is away: {error}") from error

    def _handle(self, names: list[str], *, lift_all: bool) -> None:
        if lift_all:
            names = [pause.name for pause in pauses.pauses()]
        for name in names:
            self._lift(name)
        if names:
            return
        found = pauses.pauses()
        for pause in found:
            often = f", for the {pause.opened}. time in a row" if pause.opened > 1 else ""
            self.stdout.write(f"{pause.kind} {pause.name}: {pause.seconds_left:g} s left{often}")
        if not found:
            self.stdout.write("nothing is paused")

    def _lift(self, name: str) -> None:
        """Lift the pause of the model and of the provider of this name."""
        model = LLMModel.objects.filter(name=name).first()
        provider = Provider.objects.filter(name=name).first()
        if model is None and provider is None:
            raise CommandError(f"There is no model or provider {name!r}.")
        lifted = bool(model and pauses.lift_model(model))
        lifted |= bool(provider and pauses.lift_provider(provider))
        self.stdout.write(f"{name}: lifted" if lifted else f"{name}: was not paused")
