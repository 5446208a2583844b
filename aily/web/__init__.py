"""The web process: ASGI handler, probes, limits of bodies and connections, shutdown."""
