"""A real OpenID provider over HTTP, on a thread of its own, that can be made to misbehave."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec
from yarl import URL

from tests.running import Running

CLIENT_ID, CLIENT_SECRET = "aily", "the client's secret"
ALGORITHM = "ES256"


def _nothing(token: dict[str, Any]) -> None:
    pass


@dataclass
class OpenIDProvider(Running):
    """A provider with one client. /authorize logs every visitor in as `person` at once."""

    #: The claims about the person that logs in.
    person: dict[str, Any] = field(default_factory=dict)
    #: Changes the claims of the ID token before it is signed.
    tamper: Callable[[dict[str, Any]], None] = _nothing
    #: Signs with a key that is not the published one.
    signs_wrongly: bool = False
    #: Paths that answer 503, or redirect elsewhere.
    broken: set[str] = field(default_factory=set)
    #: What the userinfo endpoint says in place of the ID token's claims.
    userinfo: dict[str, Any] = field(default_factory=dict)
    issuer: str = ""
    #: Parameters of each authorization request.
    requests: list[dict[str, str]] = field(default_factory=list)
    #: While this is not set, the token endpoint does not answer; the other says that it is asked.
    answers: threading.Event = field(default_factory=threading.Event)
    is_asked: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
        self._codes: dict[str, dict[str, str]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.reset()

    def reset(self) -> None:
        """Set everything back to the state of a new provider."""
        self.person = {"sub": "1001", "preferred_username": "carol", "given_name": "Carol"}
        self.userinfo, self.tamper, self.signs_wrongly = {}, _nothing, False
        self.broken.clear()
        self.requests.clear()
        self.answers.set()
        self.is_asked.clear()

    def start(self) -> None:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result()

    def stop(self) -> None:
        self.answers.set()
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        app = web.Application(middlewares=[self._misbehave])
        app.router.add_get("/.well-known/openid-configuration", self._configuration)
        app.router.add_get("/authorize", self._authorize)
        app.router.add_post("/token", self._token)
        app.router.add_get("/userinfo", self._userinfo)
        app.router.add_get("/jwks", self._jwks)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.issuer = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    @web.middleware
    async def _misbehave(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path in self.broken:
            return web.json_response({"error": "temporarily_unavailable"}, status=503)
        if f"{request.path} redirects" in self.broken:
            return web.Response(status=307, headers={"Location": f"{self.issuer}/jwks"})
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _configuration(self, request: web.Request) -> web.Response:
        paths = {
            "authorization_endpoint": "/authorize",
            "token_endpoint": "/token",
            "userinfo_endpoint": "/userinfo",
            "jwks_uri": "/jwks",
        }
        document: dict[str, Any] = {name: self.issuer + path for name, path in paths.items()}
        document["issuer"] = self.issuer
        document["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        return web.json_response(document)

    async def _authorize(self, request: web.Request) -> web.Response:
        asked = dict(request.query)
        self.requests.append(asked)
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe()
        self._codes[code] = asked
        back = URL(asked["redirect_uri"]).update_query(code=code, state=asked["state"])
        return web.Response(status=302, headers={"Location": str(back)})

    async def _token(self, request: web.Request) -> web.Response:
        self.is_asked.set()
        await asyncio.to_thread(self.answers.wait)
        form = await request.post()
        asked = self._codes.pop(str(form.get("code")), None)
        digest = hashlib.sha256(str(form.get("code_verifier")).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            asked is None
            or form.get("client_secret") != CLIENT_SECRET
            or form.get("redirect_uri") != asked["redirect_uri"]
            or challenge != asked["code_challenge"]
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        now = int(time.time())
        claims = {
            **self.person, "iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300,
            "nonce": asked["nonce"],
        }  # fmt: skip
        self.tamper(claims)
        claims = {name: value for name, value in claims.items() if value is not None}
        key = self._keys[1 if self.signs_wrongly else 0]
        token = jwt.encode(claims, key, ALGORITHM, headers={"kid": "1"})
        answer = {"access_token": "secret-access-token", "token_type": "Bearer", "id_token": token}
        return web.json_response(answer)

    async def _userinfo(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer secret-access-token"
        return web.json_response({"sub": self.person["sub"], **self.userinfo})

    async def _jwks(self, request: web.Request) -> web.Response:
        key = jwt.algorithms.ECAlgorithm.to_jwk(self._keys[0].public_key(), as_dict=True)
        return web.json_response({"keys": [{**key, "kid": "1", "alg": ALGORITHM}]})
