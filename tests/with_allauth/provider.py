"""An OpenID Connect provider on loopback: discovery, authorization code with PKCE, signed tokens, userinfo."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa


@dataclass
class Provider:
    """`person` is who signs in there, as claims; `changes` alters what discovery says; `asked` is who asked what."""

    address: str
    client_id: str
    client_secret: str
    person: dict[str, Any] = field(default_factory=dict)
    token_says: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, str] = field(default_factory=dict)
    leaves_out: str = ""
    refuses: bool = False
    asked: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._codes: dict[str, dict[str, str]] = {}
        self._tokens: set[str] = set()
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider._get(self)

            def do_POST(self) -> None:
                provider._post(self)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        parts = urlsplit(self.address)
        self._server = ThreadingHTTPServer((str(parts.hostname), int(parts.port or 0)), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _get(self, request: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(request.path)
        self.asked.append(parts.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/.well-known/openid-configuration":
            _answer(request, self._configuration())
        elif parts.path == "/authorize":
            self._authorize(request, asked)
        elif parts.path == "/keys":
            _answer(request, {"keys": [self._public_key()]})
        elif parts.path == "/userinfo":
            self._userinfo(request)
        else:
            _answer(request, {"error": "not_found"}, 404)

    def _post(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(request.path)
        body = request.rfile.read(int(request.headers["Content-Length"])).decode()
        sent = {name: values[0] for name, values in parse_qs(body).items()}
        code = self._codes.pop(sent.get("code", ""), None)
        proof = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
        rightful = (
            code is not None
            and (sent.get("client_id"), sent.get("client_secret")) == (self.client_id, self.client_secret)
            and sent.get("redirect_uri") == code["redirect_uri"]
            and base64.urlsafe_b64encode(proof).decode().rstrip("=") == code["code_challenge"]
        )
        if rightful:
            _answer(request, self._issue())
        else:
            _answer(request, {"error": "invalid_grant"}, 400)

    def _configuration(self) -> dict[str, Any]:
        said: dict[str, Any] = {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "userinfo_endpoint": f"{self.address}/userinfo",
            "jwks_uri": f"{self.address}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }
        said.pop(self.leaves_out, None)
        return said | self.changes

    def _authorize(self, request: BaseHTTPRequestHandler, asked: dict[str, str]) -> None:
        assert asked["client_id"] == self.client_id
        assert asked["code_challenge_method"] == "S256"
        said = {"state": asked["state"]}
        if self.refuses:
            said["error"] = "access_denied"
        else:
            said["code"] = secrets.token_urlsafe(16)
            self._codes[said["code"]] = asked
        request.send_response(302)
        request.send_header("Location", f"{asked['redirect_uri']}?{urlencode(said)}")
        request.end_headers()

    def _issue(self) -> dict[str, Any]:
        now, token = int(time.time()), secrets.token_urlsafe(16)
        self._tokens.add(token)
        claims = {"iss": self.address, "aud": self.client_id, "iat": now, "exp": now + 300}
        signed = jwt.encode(
            claims | self.person | self.token_says, self._key, algorithm="RS256", headers={"kid": "1"}
        )
        return {"access_token": token, "token_type": "Bearer", "expires_in": 300, "id_token": signed}

    def _userinfo(self, request: BaseHTTPRequestHandler) -> None:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if bearer in self._tokens:
            _answer(request, self.person)
        else:
            _answer(request, {"error": "invalid_token"}, 401)

    def _public_key(self) -> dict[str, Any]:
        key: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return key | {"kid": "1", "alg": "RS256", "use": "sig"}


def _answer(request: BaseHTTPRequestHandler, said: dict[str, Any], status: int = 200) -> None:
    body = json.dumps(said).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
