"""The identity provider as a child process: started, asked for tokens, told of other keys, and logged in to.

It must not know who takes the tokens. What people and clients there are is given by whoever starts it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import ssl
import subprocess
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2
import trustme
from joserfc.jwk import ECKey

from tests.clients import npm
from tests.proving import Prover

HERE = Path(__file__).parent
SECRET = "a secret of the tests' own clients"
"""Of every client that has one."""
REDIRECT = "http://127.0.0.1:1/callback"
"""Where people are sent back to; nothing listens there, the tests' browser stops before it."""
_PATIENCE = 20.0
_STEPS = 10
"""Redirects of a log-in, at most."""

Json = dict[str, Any]


def key(kid: str) -> Json:
    """Give a key to sign with."""
    made = ECKey.generate_key("P-256").as_dict(private=True)
    return {**made, "kid": kid, "use": "sig", "alg": "ES256"}


def workload(client_id: str, **more: Any) -> Json:
    """Register a client that acts for itself."""
    return {
        "client_id": client_id, "client_secret": SECRET, "grant_types": ["client_credentials"],
        "redirect_uris": [], "response_types": [], **more,
    }  # fmt: skip


def desktop(client_id: str, **more: Any) -> Json:
    """Register a client that people use."""
    return {
        "client_id": client_id, "client_secret": SECRET, "application_type": "native",
        "grant_types": ["authorization_code", "refresh_token"], "redirect_uris": [REDIRECT], **more,
    }  # fmt: skip


@dataclass
class Provider:
    """A provider that runs."""

    place: Path
    url: str
    process: subprocess.Popen[str]
    said: Json
    trust: ssl.SSLContext
    """Trusts it, and shows no certificate."""
    metadata: Json = field(default_factory=dict[str, Any])

    def post(
        self, endpoint: str, client: str, form: Json, shown: ssl.SSLContext | None = None, **headers: str
    ) -> httpx2.Response:
        """Ask one of its endpoints as a client with a secret."""
        with httpx2.Client(verify=shown or self.trust, timeout=_PATIENCE, trust_env=False) as http:
            return http.post(self.metadata[endpoint], data=form, auth=(client, SECRET), headers=headers)

    def token(
        self,
        client: str,
        resource: str,
        scope: str = "",
        *,
        by: Prover | None = None,
        shown: ssl.SSLContext | None = None,
    ) -> str:
        """Have a token issued to a workload: bound to a key, or to the certificate shown."""
        headers: dict[str, str] = {}
        if by is not None:
            headers["DPoP"] = by.proof(self.metadata["token_endpoint"], ath=None)
        form = {"grant_type": "client_credentials", "resource": resource, "scope": scope}
        got = self.post("token_endpoint", client, form, shown, **headers)
        assert got.status_code == 200, got.text
        issued: Json = got.json()
        assert issued["token_type"] == ("Bearer" if by is None else "DPoP")
        token: str = issued["access_token"]
        return token

    def revoke(self, client: str, token: str) -> None:
        """Take a token back."""
        got = self.post("revocation_endpoint", client, {"token": token})
        assert got.status_code == 200, got.text

    def sign_with(self, *keys: Json) -> None:
        """Have it sign with the first of these keys, and say them all."""
        self.said["keys"] = list(keys)
        (self.place / "provider.json").write_text(json.dumps(self.said))
        os.kill(self.process.pid, signal.SIGHUP)
        with httpx2.Client(verify=self.trust, timeout=_PATIENCE, trust_env=False) as http:
            wanted = [each["kid"] for each in keys]
            for _ in range(1000):
                if [each["kid"] for each in http.get(self.metadata["jwks_uri"]).json()["keys"]] == wanted:
                    return
        raise AssertionError("the provider has its old keys")


@contextlib.contextmanager
def providing(place: Path, own: trustme.CA, shown: trustme.CA, **said: Any) -> Generator[Provider]:
    """Run a provider with these clients, users, workloads, scopes and resources.

    `own` signs its certificate, and `shown` those of its clients.
    """
    issued = own.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(place / "key.pem")
    issued.cert_chain_pems[0].write_to_path(place / "cert.pem")
    shown.cert_pem.write_to_path(place / "clients.pem")
    settings: Json = {"keys": [key("first")], "users": {}, "workloads": {}, "scopes": [], **said}
    (place / "provider.json").write_text(json.dumps(settings))
    trust = ssl.create_default_context()
    own.configure_trust(trust)
    with (place / "output").open("wb") as output:
        process = subprocess.Popen(
            [npm.node()[0], "provider.mjs", str(place)],
            cwd=npm.installed("idp", HERE), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=output, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        word, _, url = process.stdout.readline().strip().partition(" ")
        assert word == "URL", (place / "output").read_text()[-3000:]
        with httpx2.Client(verify=trust, timeout=_PATIENCE, trust_env=False) as http:
            metadata = http.get(f"{url}/.well-known/oauth-authorization-server").json()
        yield Provider(place, url, process, settings, trust, metadata)
    finally:
        process.terminate()
        process.wait(_PATIENCE)
        if process.stdout is not None:
            process.stdout.close()


class Browser:
    """Somebody at a browser, who logs in where that is asked for and agrees to everything."""

    def __init__(self, provider: Provider, login: str) -> None:
        self.provider = provider
        self.login = login
        self.asked: list[Json] = []
        """What clients asked for, each time."""
        self.came_back = ""
        self._cookies = httpx2.Cookies()

    async def open(self, url: str) -> None:
        """Go where a client sends people, until they are sent back to it."""
        self.asked.append({name: values[0] for name, values in parse_qs(urlsplit(url).query).items()})
        async with httpx2.AsyncClient(
            verify=self.provider.trust, timeout=_PATIENCE, trust_env=False, cookies=self._cookies
        ) as http:
            for _ in range(_STEPS):
                if url.startswith(REDIRECT):
                    self.came_back = url
                    self._cookies = http.cookies
                    return
                filled = urlsplit(url).path.startswith("/interaction/")
                got = await (http.post(url, data={"login": self.login}) if filled else http.get(url))
                assert got.has_redirect_location, (url, got.status_code, got.text)
                url = urljoin(url, got.headers["location"])
        raise AssertionError(f"sent around without end, at last to {url}")

    def answer(self) -> dict[str, str]:
        """Give what the client was told with the last return."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.came_back).query).items()}
