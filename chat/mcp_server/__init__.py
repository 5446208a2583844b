"""aily as a server of the Model Context Protocol, at `/mcp`: scenes are its tools.

Both revisions in use are served on the one path: 2026-07-28, which has no sessions, and those
before it. Only chat/mcp_server/protocol.py imports the `mcp` package, and it is loaded with the
first request: a process that is asked for no tools pays nothing for it.
"""
