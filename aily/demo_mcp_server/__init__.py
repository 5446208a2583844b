"""The demo MCP server: tools with which to see how tools behave."""
