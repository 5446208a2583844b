"""How answers are written as JSON."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ninja.renderers import JSONRenderer
from ninja.responses import NinjaJSONEncoder

from aily.rest.decimals import decimal_text


class _Encoder(NinjaJSONEncoder):
    def default(self, o: Any) -> Any:
        return decimal_text(o) if isinstance(o, Decimal) else super().default(o)


class JsonRenderer(JSONRenderer):
    """Ninja's, with amounts of money as people and all programs read them."""

    encoder_class = _Encoder
