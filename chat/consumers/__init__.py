"""The WebSocket: its connection, the commands that come in, and what it is subscribed to."""

from chat.consumers.connection import ChatConsumer

__all__ = ["ChatConsumer"]
