"""Verification of ID tokens (OpenID Connect Core, 3.1.3.7)."""

from __future__ import annotations

from typing import Any

import jwt
from django.utils.crypto import constant_time_compare

#: Claims about a token's subject, or a document of the provider.
Claims = dict[str, Any]
#: Signatures made with a private key: neither "none" nor those of the client secret.
ALGORITHMS = [
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
]
#: Seconds that clocks may differ by.
LEEWAY = 60
#: The width of allauth's column; the standard allows 255.
MAX_SUBJECT = 191


def verified_claims(token: str, keys: Claims, *, issuer: str, client_id: str, nonce: str) -> Claims:
    """Return the token's claims. `keys`: the provider's JWKS document. Raises jwt.PyJWTError."""
    key_id = jwt.get_unverified_header(token).get("kid")
    claims: Claims = jwt.decode(
        token,
        _key(jwt.PyJWKSet.from_dict(keys), key_id),
        algorithms=ALGORITHMS,
        audience=client_id,
        issuer=issuer,
        leeway=LEEWAY,
        options={"require": ["iss", "sub", "aud", "exp", "iat", "nonce"]},
    )
    if not constant_time_compare(str(claims["nonce"]), nonce):
        raise jwt.InvalidTokenError("the nonce is of another login")
    audiences = claims["aud"]
    if isinstance(audiences, list) and len(audiences) > 1 and claims.get("azp") != client_id:
        raise jwt.InvalidTokenError("the token was made for another client")
    subject = claims["sub"]
    if not 0 < len(subject) <= MAX_SUBJECT or "\0" in subject:
        raise jwt.InvalidTokenError("this is no subject")
    return claims


def _key(keys: jwt.PyJWKSet, key_id: str | None) -> jwt.PyJWK:
    found = [key for key in keys.keys if key_id is None or key.key_id == key_id]
    if len(found) != 1:
        raise jwt.InvalidTokenError("the token names no key of the provider's")
    return found[0]
