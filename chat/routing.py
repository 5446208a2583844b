"""WebSocket routes."""

from django.urls import path

from chat.consumers import ChatConsumer

websocket_urlpatterns = [path("ws/llmchat/", ChatConsumer.as_asgi())]
