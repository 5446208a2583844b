"""OpenAI's Responses API: `/v1/responses` over HTTP and as a WebSocket."""
