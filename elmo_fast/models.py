"""Model names and the location of their two files: packaged, on disk, or downloaded once into a cache."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import posixpath
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Sequence
from pathlib import Path

_BASE_URL = "https://allennlp.s3.amazonaws.com/models/elmo"
_PACKAGED = {"tiny": Path(__file__).resolve().parent / "models_data" / "tiny"}
_OPTIONS_NAME, _WEIGHTS_NAME = "options.json", "weights.hdf5"
_TIMEOUT_SECONDS = 60.0


def _published(name: str, suffix: str = "") -> tuple[str, str]:
    stem = f"{_BASE_URL}/{name}{suffix}/elmo_{name}{suffix}"
    return f"{stem}_options.json", f"{stem}_weights.hdf5"


PUBLISHED_URLS: dict[str, tuple[str, str]] = {
    "small": _published("2x1024_128_2048cnn_1xhighway"),
    "medium": _published("2x2048_256_2048cnn_1xhighway"),
    "original": _published("2x4096_512_2048cnn_2xhighway"),
    "original_5.5B": _published("2x4096_512_2048cnn_2xhighway", "_5.5B"),
}
"""(options URL, weights URL) of AllenNLP's published English models, by the name that `resolve` takes."""

MODEL_NAMES: tuple[str, ...] = (*_PACKAGED, *PUBLISHED_URLS)
"""Every name that `resolve`, `elmo_fast.load` and `elmo-fast --model` accept."""

ORIGINAL_OPTIONS_URL, ORIGINAL_WEIGHTS_URL = PUBLISHED_URLS["original"]

PathOrUrl = str | os.PathLike[str]


class DownloadError(OSError):
    """A model file could not be downloaded whole; nothing of it was left in the cache."""


def cache_dir() -> Path:
    """Returns the folder for downloaded files: `elmo_fast` inside `torch.hub.get_dir()` (see `TORCH_HOME`)."""
    import torch.hub

    return Path(torch.hub.get_dir()) / "elmo_fast"


def resolve(name_or_paths: PathOrUrl | tuple[PathOrUrl, PathOrUrl] | list[PathOrUrl]) -> tuple[str, str]:
    """Finds a model's two files, downloading them on first use where the model is published on the web.

    Args:
        name_or_paths: one of `MODEL_NAMES`; or (options file, weights file), each a path or a URL; or a folder
            that holds `options.json` and `weights.hdf5`.
    Returns:
        (options path, weights path), both local files.
    Raises:
        ValueError: an unknown name, or not a pair.
        FileNotFoundError: a given path does not exist.
        DownloadError: a URL could not be fetched whole.
    """
    if isinstance(name_or_paths, (tuple, list)):
        if len(name_or_paths) != 2:
            raise ValueError(f"expected (options file, weights file), got {len(name_or_paths)}: {name_or_paths!r}")
        return local_path(name_or_paths[0]), local_path(name_or_paths[1])
    if not isinstance(name_or_paths, (str, os.PathLike)):
        raise TypeError(
            f"expected a model name, a folder or (options file, weights file), got {type(name_or_paths).__name__}"
        )
    name = os.fspath(name_or_paths)
    if isinstance(name_or_paths, str) and name in _PACKAGED:
        return local_path(_PACKAGED[name] / _OPTIONS_NAME), local_path(_PACKAGED[name] / _WEIGHTS_NAME)
    if isinstance(name_or_paths, str) and name in PUBLISHED_URLS:
        options_url, weights_url = PUBLISHED_URLS[name]
        return local_path(options_url), local_path(weights_url)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return local_path(folder / _OPTIONS_NAME), local_path(folder / _WEIGHTS_NAME)
    raise ValueError(
        f"unknown model {name!r}: expected one of {', '.join(MODEL_NAMES)}, a folder with {_OPTIONS_NAME} and "
        f"{_WEIGHTS_NAME}, or a pair (options file, weights file)"
    )


def describe(name_or_paths: PathOrUrl | Sequence[PathOrUrl]) -> str:
    """Returns a short description of a model: its name, its folder, or its weights file, as given."""
    path = os.fspath(name_or_paths if isinstance(name_or_paths, (str, os.PathLike)) else name_or_paths[1])
    packaged = {name: str(folder / _WEIGHTS_NAME) for name, folder in _PACKAGED.items()}
    published = {name: weights_url for name, (_, weights_url) in PUBLISHED_URLS.items()}
    return next((name for name, weights in {**packaged, **published}.items() if weights == path), path)


def local_path(path_or_url: PathOrUrl) -> str:
    """Returns a local file's path; an http(s) URL is downloaded into the cache the first time.

    A cached file is never checked again; delete it from `cache_dir()` to download it again.

    Args:
        path_or_url: a path (`~` is expanded), a `file://` URL or an `http(s)://` URL.
    Raises:
        FileNotFoundError: no such local file.
        ValueError: a URL of another kind.
        DownloadError: the file could not be downloaded whole.
    """
    text = os.fspath(path_or_url)
    if "://" not in text:
        path = os.path.expanduser(text)
    else:
        parts = urllib.parse.urlsplit(text)
        if parts.scheme in ("http", "https"):
            return _cached_download(text)
        if parts.scheme != "file":
            raise ValueError(f"{text}: cannot read {parts.scheme}:// URLs, expected http, https or file")
        path = urllib.request.url2pathname(parts.path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{path}: no such file")
    return path


def _cached_download(url: str) -> str:
    target = cache_dir() / _cache_name(url)
    if not target.is_file():
        _download(url, target)
    return str(target)


def _cache_name(url: str) -> str:
    """Returns a readable file name that is different for every URL."""
    base = posixpath.basename(urllib.parse.unquote(urllib.parse.urlsplit(url).path))
    readable = re.sub(r"[^\w.-]", "_", base, flags=re.ASCII)[-100:] or "file"
    return f"{hashlib.sha256(url.encode()).hexdigest()[:16]}-{readable}"


def _download(url: str, target: Path) -> None:
    """Downloads to a temporary file, compares the length, then moves it: the target is either complete or absent."""
    import torch.hub

    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.parent / f".{uuid.uuid4().hex}.download"
    try:
        expected = _content_length(url)
        torch.hub.download_url_to_file(url, str(temporary), progress=sys.stderr.isatty())
        actual = temporary.stat().st_size
        if expected is not None and actual != expected:
            raise DownloadError(f"{url}: download incomplete, expected {expected} bytes, got {actual}")
        os.replace(temporary, target)
    except DownloadError:
        raise
    except urllib.error.HTTPError as error:
        raise DownloadError(f"{url}: the server answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"{url}: download failed: {error!r}") from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _content_length(url: str) -> int | None:
    """Returns the length that the server announces for a GET; some stores refuse HEAD although they serve GET."""
    request = urllib.request.Request(url, headers={"User-Agent": "torch.hub"})  # the agent that torch.hub sends
    with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
        length = response.headers.get("Content-Length")
    if length is None:
        return None
    if not length.isdigit():
        raise DownloadError(f"{url}: the server sent a bad Content-Length: {length!r}")
    return int(length)
