"""Login by an OpenID provider. An app of its own: where it is off, nothing of it is imported.

django-allauth implements the protocol: state, PKCE, the exchange of the code, and the table of
subjects and users. The rest is here: the ID token is always verified, with its nonce (tokens.py),
and the subject's user is found or made without allauth's pages (users.py).
"""
