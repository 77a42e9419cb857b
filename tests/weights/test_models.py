"""Model names, local files, and downloads from a server of the test's own."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

import elmo_fast
from elmo_fast import models
from elmo_fast.models import DownloadError, cache_dir, local_path, resolve

BODY = bytes(range(256)) * 1000


class _Server(ThreadingHTTPServer):
    files: dict[str, bytes]
    requests: list[str]

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # clients that close early are part of the tests


class _Handler(BaseHTTPRequestHandler):
    """/missing is 404; /truncated/... announces more than it sends; /chunked/... announces no length."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        self.server.requests.append(self.path)
        kind, body = path.split("/")[1], self.server.files.get(path.rsplit("/", 1)[-1], BODY)
        self.send_response(404 if kind == "missing" else 200)
        self.send_header("Connection", "close")
        if kind == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
        elif kind == "nonsense":
            self.send_header("Content-Length", "many")
        else:
            self.send_header("Content-Length", str(0 if kind == "missing" else len(body)))
        self.end_headers()
        if kind == "truncated":
            self.wfile.write(body[: len(body) // 2])
        elif kind == "chunked":
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        elif kind != "missing":
            self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.files, server.requests = {}, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def url(server: _Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The server's address; the cache is an empty folder."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return f"http://127.0.0.1:{server.server_port}"


def cached() -> list[Path]:
    return sorted(cache_dir().rglob("*")) if cache_dir().exists() else []


def test_published_urls() -> None:
    base = "https://allennlp.s3.amazonaws.com/models/elmo"
    names = {
        "small": "2x1024_128_2048cnn_1xhighway",
        "medium": "2x2048_256_2048cnn_1xhighway",
        "original": "2x4096_512_2048cnn_2xhighway",
        "original_5.5B": "2x4096_512_2048cnn_2xhighway_5.5B",
    }
    expected = {k: (f"{base}/{n}/elmo_{n}_options.json", f"{base}/{n}/elmo_{n}_weights.hdf5") for k, n in names.items()}
    assert expected == models.PUBLISHED_URLS
    assert models.PUBLISHED_URLS["original"] == (models.ORIGINAL_OPTIONS_URL, models.ORIGINAL_WEIGHTS_URL)


@pytest.mark.parametrize("name", ["ElmoEmbedder", "ElmoTokenEmbedder"])
def test_the_original_model_is_the_default_of_allennlps_classes(name: str) -> None:
    parameters = inspect.signature(getattr(elmo_fast, name)).parameters
    assert parameters["options_file"].default == models.ORIGINAL_OPTIONS_URL
    assert parameters["weight_file"].default == models.ORIGINAL_WEIGHTS_URL


def test_the_built_in_model_is_complete() -> None:
    folder = Path(resolve("tiny")[0]).parent
    assert {file.name for file in folder.iterdir()} >= {"LICENSE", "README.md", "SOURCES.tsv", "options.json"}
    assert "creativecommons.org/licenses/by-sa/4.0" in (folder / "LICENSE").read_text()


def test_names_paths_and_folders(tiny_model: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("tiny") == tiny_model
    assert resolve(tiny_model) == resolve(list(tiny_model)) == resolve(tuple(map(Path, tiny_model))) == tiny_model
    assert resolve(Path(tiny_model[0]).parent) == tiny_model
    assert local_path(Path(tiny_model[0]).as_uri()) == tiny_model[0]
    (tmp_path / "a file").write_bytes(b"x")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/a file") == str(tmp_path / "a file")
    assert local_path((tmp_path / "a file").as_uri()) == str(tmp_path / "a file")


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ("huge", ValueError, "unknown model 'huge': expected one of tiny, small, medium, original, original_5.5B"),
        (("a", "b", "c"), ValueError, "expected .options file, weights file., got 3"),
        (None, TypeError, "got NoneType"),
        (("/nowhere/options.json", "/nowhere/weights.hdf5"), FileNotFoundError, "/nowhere/options.json: no such file"),
        (("s3://bucket/options.json", "x"), ValueError, "s3://bucket/options.json: cannot read s3:// URLs"),
    ],
)
def test_wrong_names(wrong: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        resolve(wrong)  # type: ignore[arg-type]


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="options.json: no such file"):
        resolve(tmp_path)


@pytest.mark.parametrize("kind", ["whole", "chunked"])
def test_download_once(url: str, server: _Server, kind: str) -> None:
    path = local_path(f"{url}/{kind}/weights.hdf5")
    assert Path(path).read_bytes() == BODY
    assert path.endswith("-weights.hdf5")
    count = len(server.requests)
    assert local_path(f"{url}/{kind}/weights.hdf5") == path
    assert len(server.requests) == count
    assert cached() == [Path(path)]


def test_urls_with_the_same_file_name_do_not_collide(url: str, server: _Server) -> None:
    urls = [f"{url}/{place}" for place in ("a/weights.hdf5", "b/weights.hdf5", "a/weights.hdf5?version=2", "a/", "c/")]
    paths = [local_path(u) for u in urls]
    assert len(set(paths)) == len(urls)
    assert sorted(map(Path, paths)) == cached()


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("truncated/weights.hdf5", f"expected {len(BODY)} bytes, got {len(BODY) // 2}|IncompleteRead|download failed"),
        ("missing/weights.hdf5", "the server answered 404"),
        ("nonsense/weights.hdf5", "bad Content-Length"),
    ],
)
def test_a_failed_download_is_an_error_and_leaves_nothing(url: str, place: str, message: str) -> None:
    with pytest.raises(DownloadError, match=message) as caught:
        local_path(f"{url}/{place}")
    assert f"{url}/{place}" in str(caught.value)
    assert cached() == []


def test_no_server_is_an_error_and_leaves_nothing(url: str, server: _Server) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(DownloadError, match="download failed"):
        local_path(f"{url}/whole/weights.hdf5")
    assert cached() == []


def test_a_download_after_a_failed_one(url: str, server: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(source: str, target: str, **options: object) -> None:
        Path(target).write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch.hub, "download_url_to_file", broken)
        with pytest.raises(KeyboardInterrupt):
            local_path(f"{url}/whole/weights.hdf5")
    assert cached() == []
    assert Path(local_path(f"{url}/whole/weights.hdf5")).read_bytes() == BODY


def test_a_model_from_urls(url: str, server: _Server, tiny_model: tuple[str, str]) -> None:
    server.files = {"o.json": Path(tiny_model[0]).read_bytes(), "w.hdf5": Path(tiny_model[1]).read_bytes()}
    urls = f"{url}/m/o.json", f"{url}/m/w.hdf5"
    sentence = ["From", "a", "URL", "."]
    expected = elmo_fast.load("tiny").encode([sentence], layers="all")[0]
    np.testing.assert_array_equal(elmo_fast.load(urls).encode([sentence], layers="all")[0], expected)
    np.testing.assert_array_equal(elmo_fast.ElmoEmbedder(*urls).embed_sentence(sentence), expected)


def test_a_damaged_downloaded_model_names_its_file(url: str, server: _Server, tiny_model: tuple[str, str]) -> None:
    server.files = {"o.json": Path(tiny_model[0]).read_bytes()}
    with pytest.raises(ValueError, match=r"-w\.hdf5"):
        elmo_fast.load((f"{url}/m/o.json", f"{url}/m/w.hdf5"))
