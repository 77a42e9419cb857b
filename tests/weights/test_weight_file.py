"""The flat file of a model's weights: what is in it, and that the C++ program reads the same model out of it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest

from elmo_fast import models
from elmo_fast.cli import main
from elmo_fast.weights import read_options, read_weights, write_weight_file

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def embed() -> str:
    """The program of examples/embed.cc."""
    program = os.environ.get("ELMO_FAST_EMBED")
    if not program:
        pytest.skip("ELMO_FAST_EMBED is not set: examples/embed.cc is built by .ci/run")
    return program


def run(program: str, *arguments: object, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program, *map(str, arguments)], input=text, capture_output=True)


def test_layout(random_model, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    files = random_model(cell_clip=2.5, proj_clip=None, use_skip_connections=False, n_highway=2)
    options, path = read_options(files[0]), tmp_path / "model.elmo"
    weights = read_weights(files[1], options)
    assert write_weight_file(path, options, weights) == path.stat().st_size
    content = path.read_bytes()
    magic, version, checksum = struct.unpack_from("<8sII", content)
    assert (magic, version, checksum) == (b"elmofast", 1, zlib.crc32(content[16:]))
    numbers = struct.unpack_from("<11q2f", content, 16)
    n = len(options.filters)
    assert numbers[:7] == (262, options.char_embedding_dim, 50, options.activation == "tanh", n, 2, 1)
    assert numbers[7:] == (options.projection_dim, options.cell_size, options.n_layers, 0, 2.5, 0.0)
    at = 16 + struct.calcsize("<11q2f")
    assert struct.unpack_from(f"<{2 * n}q", content, at) == tuple(x for pair in options.filters for x in pair)
    arrays = [weights.char_embedding, *(x for pair in (*weights.convolutions, *weights.highways) for x in pair)]
    arrays += weights.projection or ()
    arrays += [x for directions in weights.layers for direction in directions for x in direction.as_tuple()]
    floats = np.frombuffer(content, "<f4", offset=at + 16 * n)
    np.testing.assert_array_equal(floats, np.concatenate([array.ravel() for array in arrays]))


def test_it_appears_whole_or_not_at_all(random_model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    files = random_model()
    options = read_options(files[0])
    weights, path = read_weights(files[1], options), tmp_path / "model.elmo"
    path.write_text("precious")
    with pytest.raises(FileExistsError, match="model.elmo: the output file exists already"):
        write_weight_file(path, options, weights)

    for wrong, message in ((path / "x.elmo", "there is no folder"), (tmp_path, "not a regular file")):
        with pytest.raises(OSError, match=message):
            write_weight_file(wrong, options, weights, overwrite=True)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_weight_file(path, options, weights, overwrite=True)
    assert caught.value.filename == str(path)
    assert [one.name for one in tmp_path.iterdir()] == ["model.elmo"] and path.read_text() == "precious"


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "tiny.elmo"
    assert main(["export", "tiny", str(path)]) == 0
    assert f"tiny -> {path}: {path.stat().st_size} bytes" in capsys.readouterr().err
    assert main(["export", "tiny", str(path)]) == 2
    assert "the output file exists already; --overwrite replaces a file" in capsys.readouterr().err
    assert main(["export", "tiny", str(path), "--overwrite"]) == 0
    assert main(["export", "huge", str(tmp_path / "x")]) == 2
    assert "unknown model 'huge'" in capsys.readouterr().err


@pytest.mark.parametrize("threads", [1, 2])
def test_the_program_computes_the_committed_digest(embed: str, tmp_path: Path, threads: int) -> None:
    assert main(["export", "tiny", str(tmp_path / "tiny.elmo")]) == 0
    text = (PROJECT / "examples" / "sentences.txt").read_bytes()
    done = run(embed, tmp_path / "tiny.elmo", "--raw", tmp_path / "raw", "--threads", threads, text=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    expected = json.loads((PROJECT / "tests" / "data" / "tiny_digest.json").read_text())["sha256"]
    assert hashlib.sha256((tmp_path / "raw").read_bytes()).hexdigest() == expected


def test_the_program_prints_the_mean_of_the_layers(embed: str, tmp_path: Path) -> None:
    import elmo_fast

    options_file, weight_file = models.resolve("tiny")
    options = read_options(options_file)
    write_weight_file(tmp_path / "tiny.elmo", options, read_weights(weight_file, options))
    done = run(embed, tmp_path / "tiny.elmo", text="Caf\u00e9 au lait\n\n".encode())
    rows = [line.split() for line in done.stdout.decode().splitlines()]
    assert [row[0] for row in rows] == ["Caf\u00e9", "au", "lait"]
    expected = elmo_fast.load("tiny").encode([["Caf\u00e9", "au", "lait"]])[0]
    np.testing.assert_allclose(np.array([row[1:] for row in rows], np.float32), expected, rtol=1e-5, atol=1e-6)


def test_the_program_refuses_what_is_wrong(embed: str, tmp_path: Path) -> None:
    (tmp_path / "broken.elmo").write_bytes(b"elmofast")
    for arguments, message in (
        ([], "usage: embed MODEL"),
        ([tmp_path / "missing.elmo"], "missing.elmo: cannot be opened"),
        ([tmp_path / "broken.elmo"], "broken.elmo: version: expected 4 bytes at 8, the file ends at 8"),
        ([tmp_path / "broken.elmo", "--precision", "float8"], "precision"),
    ):
        done = run(embed, *arguments)
        assert done.returncode == 2 and message in done.stderr.decode()
