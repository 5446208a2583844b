"""`manage.py reset-breaker PROVIDER ...`."""

from __future__ import annotations

from django.core.management.base import CommandError, CommandParser

from aily.management.operator_command import OperatorCommand
from aily.redis.errors import RedisUnavailable
from chat.models import Provider
from chat.services import pauses


class Command(OperatorCommand):
    help = "Close the circuit breakers of providers: they are called as if nothing had failed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", metavar="PROVIDER", nargs="+")

    def handle(self, *, names: list[str], **options: object) -> None:
        providers = {
            provider.name: provider for provider in Provider.objects.filter(name__in=names)
        }
        for name in names:
            if name not in providers:
                raise CommandError(f"There is no provider {name!r}.")
        try:
            for name, provider in providers.items():
                was_open = pauses.reset_breaker(provider)
                self.stdout.write(f"{name}: closed" if was_open else f"{name}: was not open")
        except RedisUnavailable as error:
            raise CommandError(f"Redis is away: {error}") from error
