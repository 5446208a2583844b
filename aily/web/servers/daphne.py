"""Entry point of a web process behind daphne, with daphne's own command line.

`python -m aily.web.servers.daphne [daphne's options] aily.asgi:application`
"""

from __future__ import annotations

import sys

import uvloop
from twisted.internet import asyncioreactor

from aily.process.start import begin_loading


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    begin_loading()
    # daphne keeps a reactor that is installed already. uvloop: a tenth less CPU in a web process.
    asyncioreactor.install(uvloop.new_event_loop())  # type: ignore[no-untyped-call]
    from aily.web.servers.daphne_server import Command

    Command().run(sys.argv[1:])


if __name__ == "__main__":
    main()
