"""Structured output: answers that fit a JSON Schema, whatever the provider supports.

`formats` reads what a request asks for, `translation` says it to the provider, `repair` asks for a
repaired answer, `checking` checks answers where that holds up no other work. The worker
puts them together (chat/runner/structured.py).
"""
