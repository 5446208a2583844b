"""A stand-in for DeepSeek: its wire format over real HTTP, with no key, network or model.

It shares no code with the client, so that neither can hide the other's mistakes.
"""
