"""Runs the simulated provider without Django, which it has no use for: `python -m aily.simulator`.

What `manage.py simulate_llm` runs, started with a quarter of its CPU and a third of its memory. A
composition root, like aily.urls.
"""

from __future__ import annotations

import argparse
import sys

from aily.process.garbage import spare_collections
from chat.llm.simulator.command_line import add_options, run
from chat.llm.simulator.directives import DIRECTIVES_HELP


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(
        description="Serve a simulated LLM provider that speaks DeepSeek's wire format.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=DIRECTIVES_HELP,
    )
    add_options(parser)
    options = parser.parse_args()
    spare_collections()
    try:
        run(vars(options), _announce)
    except (ValueError, OSError) as error:
        parser.error(str(error))


def _announce(url: str) -> None:
    sys.stdout.write(f"simulated provider ready {url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
