"""A registry of images on loopback, with one image: enough of the distribution API for a pull."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Registry(ThreadingHTTPServer):
    """Holds what was pushed last under `tiny:1`."""

    daemon_threads = True

    def __init__(self, login: str | None) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.login = login
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.push()

    @property
    def name(self) -> str:
        return f"127.0.0.1:{self.server_port}/tiny"

    def push(self) -> str:
        """Make a new image, put it under the tag, and give its digest."""
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            entry = tarfile.TarInfo("content")
            entry.size = 3 << 20
            tar.addfile(entry, io.BytesIO(os.urandom(entry.size)))
        layer = gzip.compress(raw.getvalue(), 1)
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [digest(raw.getvalue())]},
                "history": [{"created_by": "test"}],
            }
        ).encode()
        described = [{"mediaType": _LAYER, "size": len(layer), "digest": digest(layer)}]
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": _CONFIG, "size": len(config), "digest": digest(config)},
                "layers": described,
            }
        ).encode()
        self.blobs |= {digest(layer): layer, digest(config): config}
        self.manifests |= {"1": manifest, digest(manifest): manifest}
        return digest(manifest)


class Answer(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        login = self.server.login
        if login and self.headers["Authorization"] != "Basic " + base64.b64encode(login.encode()).decode():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        kind, _, reference = self.path.removeprefix("/v2/").removeprefix("tiny/").partition("/")
        if self.path == "/v2/":
            self.give(b"{}", "application/json")
        elif kind == "manifests" and reference in self.server.manifests:
            self.give(self.server.manifests[reference], MANIFEST)
        elif kind == "blobs" and reference in self.server.blobs:
            self.give(self.server.blobs[reference], "application/octet-stream")
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def give(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Content-Digest", digest(body))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def registry(login: str | None = None) -> Iterator[Registry]:
    """Serve a registry on loopback, which engines take without TLS."""
    with Registry(login) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
