"""Where a checkpoint is: folders, and a hub on the loopback with the hub library's own client."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from saving import checkpoint, python

from cutaway.storage import locate


def test_a_folder_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = checkpoint(tmp_path / "ckpt")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("ckpt")
    assert locate(folder) == locate(str(folder)) == locate("~/ckpt") == folder
    assert locate("ckpt") == Path("ckpt")
    assert locate("link") == Path("link")


def test_what_a_killed_save_had_set_aside_is_found(tmp_path: Path) -> None:
    aside = checkpoint(tmp_path / ".ckpt.abcdefgh.saving" / "old")
    (tmp_path / "link").symlink_to("ckpt")
    assert (locate(tmp_path / "link") / "config.json").exists()
    assert not aside.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt", "link"]


@pytest.mark.parametrize(
    ("source", "error", "what"),
    [
        ("", ValueError, "an empty name"),
        ("{}/nowhere", FileNotFoundError, "nowhere does not exist"),
        ("./nowhere", FileNotFoundError, "the folder nowhere does not exist"),
        ("a/b/c", FileNotFoundError, "the folder a/b/c does not exist"),
        (Path("gpt2"), FileNotFoundError, "the folder gpt2 does not exist"),
        ("owner/na me", FileNotFoundError, "the folder owner/na me does not exist"),
        ("{}/ckpt/config.json", NotADirectoryError, "config.json is a file; give the folder"),
        ("{}/empty", FileNotFoundError, "empty is no checkpoint: it has no config.json; it holds nothing"),
        ("{}/gguf", FileNotFoundError, "it has no config.json; it holds model.gguf"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, source: str | Path, error: type[Exception], what: str) -> None:
    checkpoint(tmp_path / "ckpt")
    (tmp_path / "empty").mkdir()
    (tmp_path / "gguf").mkdir()
    (tmp_path / "gguf" / "model.gguf").touch()
    source = source.format(tmp_path) if isinstance(source, str) else source
    with pytest.raises(error, match=re.escape(what)):
        locate(source)


def test_a_folder_has_no_revisions(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder and has no revision 'v1'"):
        locate(checkpoint(tmp_path / "ckpt"), revision="v1")


COMMIT = "c0ffee" * 6 + "cafe"
CODE = {"modeling_own.py": b"raise SystemExit(9)", "README.md": b"about", "original/model.pth": b"large"}
REPOSITORIES = {
    "owner/safe": {"config.json": b"{}", "model.safetensors": b"tensors", "pytorch_model.bin": b"pickle"} | CODE,
    "pickled": {"config.json": b"{}", "pytorch_model.bin": b"pickle", "vocab.txt": b"a", "model.onnx": b"o"} | CODE,
    "owner/bare": {"model.gguf": b"weights"},
}
REFUSED = {"owner/gated": (403, "GatedRepo"), "owner/down": (503, ""), "owner/private": (401, "RepoNotFound")}


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a download needs."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        for name, files in REPOSITORIES.items():
            if path == f"/api/models/{name}/revision/main":
                return self.answer(json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode())
            if path.startswith(f"/api/models/{name}/revision/"):
                return self.answer(b"", 404, "RevisionNotFound")
            if path == f"/api/models/{name}/tree/{COMMIT}":
                tree = [{"type": "file", "path": f, "size": len(b), "oid": f} for f, b in files.items()]
                return self.answer(json.dumps(tree).encode())
            if path.startswith(f"/{name}/resolve/{COMMIT}/"):
                return self.answer(files[path.partition(COMMIT + "/")[2]])
        for name, (status, code) in REFUSED.items():
            if path.startswith(f"/api/models/{name}/"):
                return self.answer(b"", status, code)
        return self.answer(b"", 404, "RepoNotFound")

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, body: bytes, status: int = 200, code: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Error-Code", code)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A hub on the loopback; the environment that makes the hub library use it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield {
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HOME": str(tmp_path_factory.mktemp("cache")),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_OFFLINE": "",
            "NO_PROXY": "127.0.0.1",
        }
        server.shutdown()
        thread.join()


LOCATE = """
import json, sys
from cutaway.storage import locate

def tell(name, revision=None):
    try:
        folder = locate(name, revision=revision)
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return sorted(path.name for path in folder.iterdir())

print(json.dumps([tell(*name.split("@")) for name in sys.argv[1:]]))
"""


def found(environment: dict[str, str], *names: str) -> list[Any]:
    return json.loads(python("-c", LOCATE, *names, **environment))


def test_a_hub_name_is_fetched_once_and_then_found_offline(hub: dict[str, str]) -> None:
    safe, pickled = ["config.json", "model.safetensors"], ["config.json", "pytorch_model.bin", "vocab.txt"]
    assert found(hub, "owner/safe", "pickled") == [safe, pickled]
    resolved = [path.partition(COMMIT + "/")[2] for path in Hub.asked if "/resolve/" in path]
    assert set(resolved) == {*safe, *pickled}

    offline = found(hub | {"HF_HUB_OFFLINE": "1"}, "owner/safe", "pickled", "owner/other")
    assert offline[:2] == [safe, pickled]
    nowhere = "'owner/other' is no folder here, no complete copy is in the hub cache, and"
    assert offline[2] == f"FileNotFoundError: {nowhere} HF_HUB_OFFLINE forbids to fetch one"

    unreachable = found(hub | {"HF_ENDPOINT": "http://127.0.0.1:9"}, "owner/safe", "pickled", "owner/other")
    assert unreachable[:2] == [safe, pickled]
    assert unreachable[2].startswith(f"ConnectionError: {nowhere} the hub cannot be reached: ")


def test_what_a_hub_refuses_is_explained(hub: dict[str, str]) -> None:
    names = [
        "owner/none",
        "owner/private",
        "owner/gated",
        "owner/down",
        "owner/safe@v9",
        "owner/bare",
        "a--b",
    ]
    missing, private, gated, down, revision, bare, invalid = found(hub, *names)
    assert missing.startswith("FileNotFoundError: 'owner/none' is neither a folder here nor a model on the hub")
    assert private.startswith("FileNotFoundError: 'owner/private' is neither a folder here nor a model on the hub")
    assert gated.startswith("PermissionError: 'owner/gated' is gated: accept its terms")
    assert down.startswith("ConnectionError: 'owner/down' is no folder here, no complete copy")
    assert "503" in down
    assert revision == "FileNotFoundError: 'owner/safe' has no revision 'v9' on the hub"
    assert bare.startswith("FileNotFoundError: ")
    assert "is no checkpoint: it has no config.json" in bare
    assert invalid.startswith("ValueError: 'a--b' is neither a folder here nor a valid hub name: ")
