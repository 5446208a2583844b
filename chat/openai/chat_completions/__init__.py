"""`POST /v1/chat/completions`: what is read from its body, and its two forms of answer."""
