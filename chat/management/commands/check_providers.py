"""Asks each provider for its models, as workers would call them."""

from __future__ import annotations

from django.core.management.base import CommandError

from aily.management.operator_command import OperatorCommand
from chat.llm.errors import ProviderError
from chat.llm.listing import list_models
from chat.models import Provider
from chat.runner.upstreams import upstream_of


class Command(OperatorCommand):
    help = (
        "Ask each enabled provider for its list of models: whether it can be reached, takes the "
        "key, and has the models that are to be called. No tokens are used. Exits with 1 when one "
        "fails."
    )

    def handle(self, *args: object, **options: object) -> None:
        checks = [self._check(provider) for provider in Provider.objects.filter(is_enabled=True)]
        if not all(checks):
            raise CommandError("Not every provider can be used.")

    def _check(self, provider: Provider) -> bool:
        upstream = upstream_of(provider)
        if upstream.problem:
            self.stdout.write(f"{provider.name}: {upstream.problem}")
            return False
        try:
            offered = list_models(upstream)
        except ProviderError as error:
            self.stdout.write(f"{provider.name}: {error}")
            return False
        deployments = [model.own_deployment for model in provider.models.filter(is_enabled=True)]
        deployments += provider.deployments.filter(model__is_enabled=True).select_related("model")
        wanted = {deployment.called for deployment in deployments}
        self.stdout.write(f"{provider.name}: it answers, and lists {len(offered)} models")
        # Some serve more than they list, so that this alone is no failure.
        for name in sorted(wanted - set(offered)):
            self.stdout.write(f"{provider.name}: it does not list {name}")
        return True
