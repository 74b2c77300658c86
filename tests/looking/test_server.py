"""A real server and real requests: who gets an answer, and who does not."""

import gc
import gzip
import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from looking.small import TEXT, opened, read, small

import cutaway
from cutaway.looking.server import LONGEST, Server, files


class Client:
    """Somebody who sends requests to a port, header by header."""

    def __init__(self, port: int, cookie: str = ""):
        self.port, self.cookie = port, cookie

    def send(
        self, method: str, path: str, body: bytes | str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        line.putrequest(method, path, skip_host="Host" in named, skip_accept_encoding=True)
        for name, value in ({"Cookie": self.cookie} | named).items() if self.cookie else named.items():
            line.putheader(name, value)
        told = body.encode() if isinstance(body, str) else body
        if told is not None:
            line.putheader("Content-Length", str(len(told)))
        line.endheaders(told)
        answer = line.getresponse()
        found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        line.close()
        return found

    def ask(self, name: str, **arguments: Any) -> tuple[int, Any]:
        status, headers, body = self.send("POST", "/api/ask", json.dumps({"ask": name, **arguments}))
        return status, json.loads(body) if headers["content-type"] == "application/json" else body


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A built page, or what stands for one."""
    folder = tmp_path_factory.mktemp("static")
    (folder / "assets").mkdir()
    (folder / "index.html").write_text("<!doctype html><title>page</title>" + "<p>text</p>" * 500)
    (folder / "assets" / "a-1234.js").write_text("export default 1;")
    (folder / "export.html").write_text("the template of exports")
    (folder.parent / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    return folder


@pytest.fixture(scope="module")
def server(site: Path) -> Iterator[Server]:
    desk, _ = opened("gpt2")
    made = Server(desk, static=site)
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def client(server: Server) -> Client:
    """Somebody who has opened the address."""
    status, headers, _ = Client(server.port).send("GET", f"/?token={server.token}")
    assert status == 303
    return Client(server.port, headers["set-cookie"].partition(";")[0])


def test_the_token_becomes_a_cookie_that_no_script_reads(server: Server) -> None:
    status, headers, _ = Client(server.port).send("GET", f"/?token={server.token}")
    assert (status, headers["location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(headers["set-cookie"].split("; "))
    assert headers["set-cookie"].startswith(f"cutaway-{server.port}=")
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/assets/a-1234.js", "/nothing", "/?token=wrong", "/?token="])
def test_without_the_token_there_is_nothing(server: Server, path: str) -> None:
    for cookie in ("", f"cutaway-{server.port}=wrong", f"cutaway-{server.port}=", "cutaway=" + server.token):
        status, headers, body = Client(server.port, cookie).send("GET", path)
        assert (status, b"page" in body.replace(b"this page", b"")) == (403, False)
        assert "set-cookie" not in headers
    status, answer = Client(server.port).ask("info")
    assert (status, answer["kind"]) == (403, "refused")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "localhost:1", "evil.example:{port}", "127.0.0.1:{port}.evil.example", ""]
)
def test_another_host_is_refused(server: Server, client: Client, host: str) -> None:
    """A name that is made to point here (DNS rebinding) is not ours."""
    for method, path in (("GET", "/"), ("POST", "/api/ask"), ("GET", f"/?token={server.token}")):
        status, headers, _ = client.send(method, path, '{"ask": "info"}', Host=host.format(port=server.port))
        assert status in (400, 403)
        assert "set-cookie" not in headers
    assert client.send("GET", "/", Host=f"localhost:{server.port}")[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"])
def test_another_origin_is_refused(server: Server, client: Client, origin: str) -> None:
    told = origin.format(port=server.port)
    assert client.send("POST", "/api/ask", '{"ask": "info"}', Origin=told)[0] == 403
    assert client.send("POST", "/api/ask", '{"ask": "info"}', Origin=f"http://127.0.0.1:{server.port}")[0] == 200


@pytest.mark.parametrize("sender", ["cross-site", "same-site"])
def test_what_a_browser_says_of_the_sender_counts(client: Client, sender: str) -> None:
    assert client.send("POST", "/api/ask", '{"ask": "info"}', Sec_Fetch_Site=sender)[0] == 403
    assert client.send("GET", "/", Sec_Fetch_Site="none")[0] == 200


def test_headers(client: Client) -> None:
    for method, path in (("GET", "/"), ("GET", "/nothing"), ("POST", "/api/ask")):
        _, headers, _ = client.send(method, path, '{"ask": "info"}' if method == "POST" else None)
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-frame-options"] == "DENY"
        assert not {name for name in headers if name.startswith("access-control")}


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "//etc/passwd",
        "/link.txt",
        "/export.html",
    ],
)
def test_nothing_but_the_page_is_to_be_had(client: Client, path: str) -> None:
    status, _, body = client.send("GET", path)
    assert (status, b"secret\n" in body or b"template" in body) == (404, False)


def test_files_are_compressed_and_kept(client: Client, site: Path) -> None:
    plain = (site / "index.html").read_bytes()
    status, headers, body = client.send("GET", "/", Accept_Encoding="gzip, br")
    assert (status, headers["content-encoding"], headers["vary"]) == (200, "gzip", "Accept-Encoding")
    assert gzip.decompress(body) == plain
    assert client.send("GET", "/")[2] == plain
    assert headers["cache-control"] == "no-cache"
    assert client.send("GET", "/", If_None_Match=headers["etag"])[0] == 304
    _, headers, body = client.send("GET", "/assets/a-1234.js", Accept_Encoding="gzip")
    assert "immutable" in headers["cache-control"]
    assert headers["content-type"].startswith("text/javascript")
    assert (body, "content-encoding" in headers) == (b"export default 1;", False)


def test_questions_over_http(client: Client) -> None:
    status, answer = client.ask("look", text=TEXT)
    assert status == 200
    status, file = client.ask("attention", look=answer["look"], site="layers.0.attention", head=1)
    assert (status, read(file)[0]["a"].shape) == (200, (len(TEXT), len(TEXT)))
    assert client.ask("inf") == (400, {"error": "there is no question 'inf'; did you mean info?", "kind": "input"})
    assert client.ask("seen", look="look-99")[0] == 410


@pytest.mark.parametrize(
    "body", ["", "{", "[]", '{"ask": 3}', '{"ask": "info", "x": NaN}', b"\xff\xfe", '{"look": "a"}']
)
def test_what_is_no_question_is_said(client: Client, body: str | bytes) -> None:
    status, _, answer = client.send("POST", "/api/ask", body)
    assert status == 400
    assert json.loads(answer)["kind"] == "input"


def test_a_question_may_not_be_endless(client: Client) -> None:
    status, _, _ = client.send("POST", "/api/ask", b" " * (LONGEST + 1))
    assert status == 413


def test_other_methods_and_paths(client: Client) -> None:
    assert client.send("GET", "/api/ask")[0] in (404, 405)
    assert client.send("POST", "/", "x")[0] == 405
    assert client.send("OPTIONS", "/api/ask")[0] == 405


def test_a_fault_of_ours_is_one_line_to_the_page(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(name: str, arguments: object) -> None:
        raise RuntimeError("first line\nsecond line")

    monkeypatch.setattr(server.desk, "ask", broken)
    status, answer = client.ask("info")
    assert (status, answer) == (500, {"error": "RuntimeError: first line", "kind": "internal"})


def test_a_taken_port_is_said(server: Server) -> None:
    with pytest.raises(OSError, match=f"port {server.port} cannot be had: Address already in use"):
        Server(server.desk, server.port)


def test_it_listens_on_this_machine_only(server: Server) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_page_that_is_not_built_says_so(tmp_path: Path) -> None:
    assert files(tmp_path / "nothing") == {}
    desk, _ = opened("gpt2")
    made = Server(desk, static=tmp_path / "nothing")
    thread = threading.Thread(target=made.run)
    thread.start()
    status, _, body = Client(made.port, f"{made.cookie}={made.token}").send("GET", "/")
    made.server.should_exit = True
    thread.join(30)
    assert status == 404
    assert body.startswith(b"The page is not built")


@pytest.mark.parametrize("state", ["asking", "not reading"])
def test_who_is_still_there_at_the_end_is_hung_up_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """An answer that outlasts the end, or that nobody takes; a connection left open would warn at some later time."""
    desk, _ = opened("gpt2")
    made = Server(desk, static=tmp_path)
    asked, go_on = threading.Event(), threading.Event()

    def ask(name: str, arguments: object) -> bytes:
        asked.set()
        if state == "asking":
            go_on.wait(30)
        return bytes(2**26)

    monkeypatch.setattr(desk, "ask", ask)
    thread = threading.Thread(target=made.run)
    thread.start()
    with socket.create_connection(("127.0.0.1", made.port), timeout=30) as line:
        body = b'{"ask": "info"}'
        head = (
            f"POST /api/ask HTTP/1.1\r\nHost: 127.0.0.1:{made.port}\r\nContent-Length: {len(body)}\r\n"
            f"Cookie: {made.cookie}={made.token}\r\n\r\n"
        )
        line.sendall(head.encode() + body)
        assert asked.wait(30)
        made.server.should_exit = True
        if state == "asking":
            thread.join(2.5)  # past the time that uvicorn gives
            go_on.set()
        thread.join(30)
    assert not thread.is_alive()
    del made, ask, thread
    monkeypatch.undo()
    gc.collect()  # ResourceWarning is an error, as every warning


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "small"
    cutaway.save(small("gpt2"), folder)
    return folder


def test_the_command_serves_until_it_is_interrupted(checkpoint: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "cutaway.cli", "look", str(checkpoint), "a b", "--no-browser"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert process.stdout is not None
    line = process.stdout.readline()
    began = time.monotonic()
    match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=(\S{32})\n", line)
    assert match, line
    port = int(match[1])
    status, answer = Client(port, f"cutaway-{port}={match[2]}").ask("info")
    assert time.monotonic() - began < 5  # one second where nobody else computes
    assert (status, answer["looks"]) == (200, ["look-1"])
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert list(tmp_path.iterdir()) == []  # nothing was written
