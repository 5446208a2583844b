"""The ASGI applications beside Django's, on Starlette, for the paths on which speed counts.

A request through Django's handler and its middlewares costs about a millisecond of CPU, and one
through here a tenth of that (docs/performance.md). What Django's middlewares add to an answer of
the API is added here as well: an id, metrics, the headers of security and CORS, errors in one form.
"""
