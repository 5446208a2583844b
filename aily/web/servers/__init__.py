"""The ASGI servers, each run by `python -m`."""
