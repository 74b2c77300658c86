"""The desk over HTTP, for one browser on this machine.

It listens on 127.0.0.1 only. Every request must name this very address as its Host (so no other name can be made to
point here: DNS rebinding), may come from no other Origin, and must have the token of this run: once in the address
that is opened, from then on in a cookie that no script and no other site can use. Files are read when the server is
made; no request reaches the disk."""

import asyncio
import gzip
import json
import mimetypes
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from .answers import GoneError, PendingError
from .desk import INPUT, STATUS, Desk, fault

STATIC = Path(__file__).parent / "static"
LONGEST = 16 * 2**20  # bytes of a question: a text of millions of words
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}
UNBUILT = (
    "The page is not built: src/cutaway/looking/static/index.html is missing.\n"
    "An installed package has it; in a checkout, `python3 run.py` builds it.\n"
    "What the page asks can be asked without it: POST /api/ask.\n"
)


@dataclass(frozen=True)
class File:
    """A file of the page, as it is sent."""

    body: bytes
    kind: str
    forever: bool

    @cached_property
    def tag(self) -> str:
        return f'"{blake2b(self.body, digest_size=12).hexdigest()}"'

    @cached_property
    def packed(self) -> bytes:
        return gzip.compress(self.body, mtime=0)


def files(folder: Path) -> dict[str, File]:
    """The page's files by path; those under assets/ have names made of what is in them, so they never change."""
    found = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.is_symlink() and name != "export.html":
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            kind += "; charset=utf-8" if kind.startswith("text/") else ""
            found[name] = File(path.read_bytes(), kind, name.startswith("assets/"))
    return found


class Server:
    """A desk at ``http://127.0.0.1:port/``; port 0 takes a free one. ``url`` opens it, with the token."""

    def __init__(self, desk: Desk, port: int = 0, static: Path = STATIC):
        self.desk, self.token, self.files = desk, secrets.token_urlsafe(24), files(static)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.socket.bind(("127.0.0.1", port))
            self.socket.listen()  # who comes before the first answer waits
        except OSError as error:
            self.socket.close()
            raise OSError(error.errno, f"port {port} cannot be had: {error.strerror}") from error
        self.port = self.socket.getsockname()[1]
        routes = [
            Route("/api/ask", self.ask, methods=["POST"]),
            Route("/{path:path}", self.file, methods=["GET"]),
        ]
        app = Starlette(routes=routes, exception_handlers={Exception: self.failed})
        config = uvicorn.Config(
            Guard(app, self), log_level="error", access_log=False, lifespan="off", ws="none", http="h11",
            server_header=False, timeout_graceful_shutdown=2,
        )  # fmt: skip
        self.server = uvicorn.Server(config)

    @property
    def hosts(self) -> set[str]:
        return {f"127.0.0.1:{self.port}", f"localhost:{self.port}"}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/?token={self.token}"

    @property
    def cookie(self) -> str:
        """Cookies know no ports, so that of each server has a name of its own."""
        return f"cutaway-{self.port}"

    def run(self) -> None:
        """Serve until the process is interrupted."""
        try:
            asyncio.run(self.serve())
        finally:
            self.desk.close()
            self.socket.close()

    async def serve(self) -> None:
        """Uvicorn leaves those connections open whose answer nobody took in time."""
        await self.server.serve(sockets=[self.socket])
        for connection in self.server.server_state.connections:
            connection.transport.abort()

    def refusal(self, request: Request) -> str | None:
        """Why a request gets no answer; None if it gets one."""
        if request.headers.get("host") not in self.hosts:
            return "this server answers to its own address only"
        origin = request.headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in self.hosts}:
            return "another site may not ask here"
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "another site may not ask here"
        given = request.query_params.get("token") or request.cookies.get(self.cookie) or ""
        if not secrets.compare_digest(given.encode(), self.token.encode()):
            return "open the address that cutaway printed: it has the key to this page"
        return None

    async def file(self, request: Request) -> Response:
        if "token" in request.query_params:  # out of the address bar, into a cookie; what follows a # stays
            response: Response = RedirectResponse("/", 303)
            response.set_cookie(self.cookie, self.token, path="/", httponly=True, samesite="strict")
            return response
        name = request.path_params["path"] or "index.html"
        found = self.files.get(name)
        if found is None:
            return PlainTextResponse(UNBUILT if name == "index.html" else f"there is no {name}\n", 404)
        keep = "private, max-age=31536000, immutable" if found.forever else "no-cache"
        headers = {"Cache-Control": keep, "ETag": found.tag}
        if request.headers.get("if-none-match") == found.tag:
            return Response(None, 304, headers)
        return packed(request, found.body, found.kind, headers, ready=found)

    async def ask(self, request: Request) -> Response:
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > LONGEST:
                return answered(request, {"error": f"more than {LONGEST:,} bytes", "kind": "input"}, 413)
        try:
            asked = json.loads(body)
            if not isinstance(asked, dict) or not isinstance(asked.get("ask"), str):
                raise ValueError('a question is an object {"ask": NAME, ...}')
            answer = await run_in_threadpool(self.desk.ask, asked.pop("ask"), asked)
        except (*INPUT, GoneError, PendingError) as error:
            told = fault(error)
            return answered(request, told, STATUS[told["kind"]])
        return answered(request, answer)

    async def failed(self, request: Request, error: Exception) -> Response:
        """What nobody expected: one line to the page, all of it to the terminal."""
        return answered(request, fault(error), 500)


def answered(request: Request, answer: Mapping[str, Any] | bytes, status: int = 200) -> Response:
    """JSON, or the bytes of arrays; neither is kept anywhere."""
    none = {"Cache-Control": "no-store"}
    if isinstance(answer, bytes):
        return Response(answer, status, {**none, "Content-Type": "application/octet-stream"})
    text = json.dumps(answer, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors="replace")
    return packed(request, text, "application/json", none, status)


def packed(
    request: Request, body: bytes, kind: str, headers: dict[str, str], status: int = 200, ready: File | None = None
) -> Response:
    """Text is sent compressed where that saves a packet, and the browser knows how to read it."""
    headers = {**headers, "Content-Type": kind, "Vary": "Accept-Encoding"}
    if len(body) > 1400 and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, 5) if ready is None else ready.packed
        headers["Content-Encoding"] = "gzip"
    return Response(body, status, headers)


class Guard:
    """Stands before the whole application: refuses whom it must, and puts the same headers on every answer."""

    def __init__(self, app: Starlette, server: Server):
        self.app, self.server = app, server

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return

        async def guarded(message: Any) -> None:
            if message["type"] == "http.response.start":
                extra = [(key.lower().encode(), value.encode()) for key, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        request = Request(scope)
        refused = self.server.refusal(request)
        if refused is not None:
            api = request.url.path.startswith("/api/")
            told = answered(request, {"error": refused, "kind": "refused"}, 403) if api else None
            await (told or PlainTextResponse(refused + "\n", 403))(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)
