"""Entry point of the exporter: `python -m aily.exporter`, one for an installation.

It serves the metrics of all processes on this machine, and those that it reads from PostgreSQL and
Redis. A composition root, like aily.urls.
"""

from __future__ import annotations

import argparse
import os
import signal
import threading

import django

from aily.process.start import begin_loading


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "aily.settings")
    begin_loading()
    django.setup()

    # After Django's setup: they read its settings.
    from django.conf import settings

    from aily.monitoring import services
    from aily.observability import metrics
    from aily.observability.collector import GlobalCollector
    from aily.observability.server import registry, serve
    from chat.observability.gauges import QueueGauges

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default=settings.METRICS_HOST)
    parser.add_argument("--port", type=int, default=settings.METRICS_PORT)
    options = parser.parse_args()
    metrics.name_process("exporter")
    gauges = QueueGauges(settings.REDIS_URL)
    queries = {
        service: [services.redis_query(service, url)]
        for service, url in services.redis_services().items()
    }
    queries["redis"].append(gauges.from_redis)
    collector = GlobalCollector({"database": [services.read_database, gauges.from_rows], **queries})
    collector.start()
    everything = registry()
    everything.register(collector)
    serve(options.host, options.port, is_alive=lambda: True, parts={}, metrics=everything)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


if __name__ == "__main__":
    main()
