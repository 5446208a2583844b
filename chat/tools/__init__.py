"""Tools that models may call: which there are, who may use them, and how one call is made.

A call never raises for what a server does: the model gets a short text. What uses no tools
loads neither this package nor the `mcp` package, which chat/tools/mcp_client.py alone imports.
"""
