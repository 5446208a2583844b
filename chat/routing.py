"""WebSocket routes."""

from django.urls import path

from chat.consumers import ChatConsumer
from chat.openai.responses.socket import ResponsesConsumer

websocket_urlpatterns = [
    path("ws/llmchat/", ChatConsumer.as_asgi()),
    path("v1/responses", ResponsesConsumer.as_asgi()),
]
