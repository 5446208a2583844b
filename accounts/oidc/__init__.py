"""Login by an OpenID provider. An app of its own: where it is off, nothing of it is imported.

django-allauth does the protocol's way round: state, PKCE, the exchange of the code, and the table
of who is who. What it leaves open is here: the ID token is always verified, with its nonce
(tokens.py), and who gets in, as whom, is decided without its pages (users.py).
"""
