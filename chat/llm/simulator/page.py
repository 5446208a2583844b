"""The simulated provider's counter page."""

from __future__ import annotations

from html import escape

from chat.llm.simulator.config import SimulatorConfig
from chat.llm.simulator.stats import Stats

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Simulated provider</title><style>
:root {{ color-scheme: light dark; --line: #8884; --dim: #8889; --mark: #b45309; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto;
  padding: 0 1rem; }}
h1 {{ font-size: 1.4rem; margin: 0; }}
.mark {{ font-size: .75rem; font-weight: 700; letter-spacing: .08em; color: var(--mark);
  border: 1px solid; border-radius: 4px; padding: .1rem .4rem; vertical-align: middle; }}
.grid {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem;
  margin: 1.5rem 0; }}
.grid div {{ border: 1px solid var(--line); border-radius: 8px; padding: .75rem 1rem; }}
.grid b {{ display: block; font-size: 1.6rem; font-variant-numeric: tabular-nums; }}
.grid span, p {{ opacity: .75; font-size: .875rem; }}
</style></head><body>
<h1>Provider <span class="mark">SIMULATED</span></h1>
<p>Speaks DeepSeek's wire format. No model is asked; every answer is made up.</p>
<div class="grid">{counters}</div>
<p>{settings}</p>
</body></html>
"""

_LABELS = {
    "requests": "requests seen",
    "in_flight": "in flight",
    "max_in_flight": "most at once",
    "completed": "completed",
    "rejected_429": "429s given",
    "errors": "errors given",
    "client_disconnects": "clients gone early",
    "tokens": "tokens sent",
}


def render_page(stats: Stats, config: SimulatorConfig) -> str:
    """The page's HTML; it reloads itself."""
    counters = "".join(
        f"<div><b>{getattr(stats, name):,}</b><span>{label}</span></div>"
        for name, label in _LABELS.items()
    )
    low, high = config.latency_seconds
    cap = f"At most {config.concurrency:,} at once for a model" if config.concurrency else "No cap"
    settings = (
        f"First token after {low:g} to {high:g} s, then {config.tokens_per_second:g} tokens/s. "
        f"{cap}. Seed {config.seed}."
    )
    return _PAGE.format(counters=counters, settings=escape(settings))
