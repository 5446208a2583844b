"""Entry point of the simulated provider: `python -m aily.simulator`.

The same server as `manage.py simulate_llm`, without Django: a quarter of the CPU of a start and a
third of the memory. A composition root, like aily.urls.
"""

from __future__ import annotations

import argparse
import sys

from aily.process.start import begin_loading, end_loading


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    begin_loading()
    from chat.llm.simulator.command_line import add_options, run
    from chat.llm.simulator.directives import DIRECTIVES_HELP

    parser = argparse.ArgumentParser(
        description="Serve a simulated LLM provider that speaks DeepSeek's wire format.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=DIRECTIVES_HELP,
    )
    add_options(parser)
    options = parser.parse_args()
    end_loading()
    try:
        run(vars(options), _announce)
    except (ValueError, OSError) as error:
        parser.error(str(error))


def _announce(url: str) -> None:
    sys.stdout.write(f"simulated provider ready {url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
