"""The command `elmo-fast`, run in this process if that is enough, else in its own."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.sample_sentences import ORDINARY

import elmo_fast
from elmo_fast import ElmoEmbedder
from elmo_fast.cli import arguments, main
from elmo_fast.cli.stop_signals import Stopped, StopSignals
from elmo_fast.precision import PRECISIONS

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "sentences.txt"
COMMAND = [sys.executable, "-m", "elmo_fast"]
SLOWER = "expect it to be slower"
posix_only = pytest.mark.skipif(os.name != "posix", reason="POSIX signals and terminals")


@pytest.fixture(autouse=True)
def _default_threads() -> Iterator[None]:
    yield
    elmo_fast.set_num_threads(None)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "vectors.hdf5"


@pytest.fixture
def text(tmp_path: Path) -> Callable[[bytes | str], str]:
    def write(content: bytes | str) -> str:
        (tmp_path / "in.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(tmp_path / "in.txt")

    return write


def read(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {key: file[key][()] for key in file}


def error_of(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a command that must fail with exit code 2 and one line; returns the line."""
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("elmo-fast: model: ")]
    assert out == "" and len(lines) == 1
    assert lines[0].startswith("elmo-fast: error: ")
    return lines[0]


def assert_vectors(content: dict[str, np.ndarray], expected: list[np.ndarray]) -> None:
    assert set(content) - {"sentence_to_index"} == set(map(str, range(len(expected))))
    for number, array in enumerate(expected):
        assert content[str(number)].dtype == np.float32
        np.testing.assert_array_equal(content[str(number)], array)


def test_embed_as_allennlp(tiny_model: tuple[str, str], output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", str(EXAMPLES), str(output), "--batch-size", "6"]) == 0
    content = read(output)
    assert_vectors(content, list(ElmoEmbedder(*tiny_model).embed_sentences(ORDINARY, 6)))
    assert json.loads(content["sentence_to_index"][0]) == {" ".join(s): str(i) for i, s in enumerate(ORDINARY)}
    out, err = capsys.readouterr()
    model, speed = err.splitlines()
    assert out == ""
    assert model == (
        "elmo-fast: model: tiny, the small built-in one; --model takes AllenNLP's bigger ones: "
        "small, medium, original, original_5.5B"
    )
    tokens = sum(map(len, ORDINARY))
    assert re.fullmatch(rf"elmo-fast: 20 sentences, {tokens} tokens in \S+ s: \d+ tokens/s -> {output}", speed)


@pytest.mark.parametrize("output_format", ["all", "top", "average"])
def test_formats_and_states(tiny_model: tuple[str, str], output: Path, output_format: str) -> None:
    arguments = ["embed", str(EXAMPLES), str(output), "--output-format", output_format, "--state", "reset"]
    assert main([*arguments, "--threads", "1", "--batch-size", "3", "--forget-sentences"]) == 0
    embedder = ElmoEmbedder(*tiny_model, state="reset")
    pick = {"all": lambda x: x, "top": lambda x: x[-1], "average": lambda x: x.mean(axis=0)}[output_format]
    content = read(output)
    assert_vectors(content, [pick(x) for x in embedder.embed_batch(ORDINARY)])
    assert "sentence_to_index" not in content
    assert elmo_fast.get_num_threads() == 1


@pytest.mark.parametrize(("threads", "warned"), [(2, 0), (3, 1)])
def test_more_threads_than_processors(
    output: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], threads: int, warned: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5}, raising=False)
    assert main(["embed", str(EXAMPLES), str(output), "--threads", str(threads)]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert warnings == ["elmo-fast: warning: --threads 3 is more than the 2 available processors: " + SLOWER] * warned


def test_processors_where_the_system_does_not_say_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert arguments._num_processors() == 7


@pytest.mark.parametrize(("output_format", "shape"), [("all", (3, 0, 128)), ("top", (0, 128)), ("average", (0, 128))])
def test_blank_lines(
    text: Callable[[str], str],
    output: Path,
    output_format: str,
    shape: tuple[int, ...],
    recwarn: pytest.WarningsRecorder,
) -> None:
    assert main(["embed", text("\na b\n  \t \n\n"), str(output), "--output-format", output_format]) == 0
    content = read(output)
    assert json.loads(content.pop("sentence_to_index")[0]) == {"": "3", "a b": "1"}
    for key in ("0", "2", "3"):
        assert (content[key].shape, content[key].dtype) == (shape, np.float32)
    assert content["1"].shape[-2:] == (2, 128)
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


def test_lines_end_at_a_line_feed_alone(text: Callable[[str], str], output: Path) -> None:
    assert main(["embed", text("one\rtwo\r\nthree\x0bfour\u2028five\x85six\nlast"), str(output)]) == 0
    assert [read(output)[key].shape[1] for key in ("0", "1", "2")] == [2, 4, 1]


def test_an_empty_file(text: Callable[[str], str], output: Path) -> None:
    assert main(["embed", text(""), str(output)]) == 0
    assert {key: json.loads(value[0]) for key, value in read(output).items()} == {"sentence_to_index": {}}


def test_sentence_keys(text: Callable[[str], str], output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", text("a b\nc\n"), str(output), "--use-sentence-keys"]) == 0
    content = read(output)
    assert content["a b"].shape == (3, 2, 128) and content["c"].shape == (3, 1, 128)
    capsys.readouterr()
    again = ["embed", text("a b\nc\na b\n"), output, "--use-sentence-keys", "--overwrite"]
    assert "line 3: 'a b': is a key already" in error_of(again, capsys)
    assert set(read(output)) == set(content)  # the old file is still there


def test_a_model_by_its_files(
    random_model: Callable[..., tuple[Path, Path]], output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, weights = map(str, random_model(n_layers=3, projection_dim=5))
    given = ["--options-file", options, "--weight-file", weights]
    assert main(["embed", str(EXAMPLES), str(output), *given]) == 0
    assert read(output)["0"].shape == (4, len(ORDINARY[0]), 10)
    assert len(capsys.readouterr().err.splitlines()) == 1  # no line about a default
    assert main(["embed", str(EXAMPLES), str(output), "--model", str(Path(options).parent), "--overwrite"]) == 0
    assert read(output)["0"].shape == (4, len(ORDINARY[0]), 10)


def test_a_named_model(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", str(EXAMPLES), str(output), "--model", "tiny"]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("precision", PRECISIONS)
def test_precision(precision: str, output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["embed", str(EXAMPLES), str(output), "--model", "tiny", "--state", "reset"]
    assert main([*arguments, "--precision", precision, "--output-format", "top"]) == 0
    embedder = elmo_fast.load("tiny", precision=precision)
    assert_vectors(read(output), embedder.encode(ORDINARY, layers="top"))
    note, used = f"elmo-fast: precision: {precision} runs as float32 on this processor", embedder.precision_in_use
    assert (note in capsys.readouterr().err.splitlines()) == (used != precision)


def test_unknown_precision(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["embed", str(EXAMPLES), str(output), "--precision", "float16"])
    assert stop.value.code == 2
    assert "--precision: invalid choice: 'float16'" in capsys.readouterr().err


def test_standard_input(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["embed", str(EXAMPLES), str(output)]) == 0
    expected = read(output)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(EXAMPLES.read_bytes())))
    assert main(["embed", "-", str(output), "--overwrite"]) == 0
    actual = read(output)
    assert set(actual) == set(expected)
    for key in expected:
        np.testing.assert_array_equal(actual[key], expected[key])


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    info = elmo_fast.build_info()
    assert set(lines) == set(info)
    assert lines["version"] == elmo_fast.__version__
    assert lines["isas_built"].split() == info["isas_built"]
    assert lines["isa"] == info["isa"]
    assert [entry.split()[0] for entry in lines["precisions"].split(", ")] == list(info["precisions"])
    for name, used in info["precisions"].items():
        assert (f"{name} (runs as {used})" in lines["precisions"]) == (used != name)
    assert lines["cuda_built"] == str(info["cuda_built"])
    assert lines["num_threads"] == str(info["num_threads"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"fine\nna\xc3\xafve\nbad \xff\n", "in.txt: line 3 is not UTF-8: byte 0xff at position 5: invalid start byte"),
        (b"cut \xe2\x82", "in.txt: line 1 is not UTF-8: byte 0xe2 at position 5: unexpected end of data"),
    ],
)
def test_invalid_utf8(
    text: Callable[[bytes], str], output: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    assert message in error_of(["embed", text(content), output], capsys)
    assert os.listdir(output.parent) == []


def test_invalid_utf8_on_standard_input(
    output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream cannot be checked first: half of it has been embedded when the bad line comes."""

    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(Stream(b"fine\n" * 3 + b"\xff\n")))
    error = error_of(["embed", "-", output, "--batch-size", "1"], capsys)
    assert "standard input: line 4 is not UTF-8" in error
    assert os.listdir(output.parent) == []


def test_closed_standard_input(
    output: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert "standard input is closed" in error_of(["embed", "-", output], capsys)
    assert main(["embed", str(EXAMPLES), str(output)]) == 0


def test_problems_with_files(
    tmp_path: Path, text: Callable[[str], str], output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "nowhere.txt: No such file" in error_of(["embed", tmp_path / "nowhere.txt", output], capsys)
    assert "Is a directory" in error_of(["embed", tmp_path, output], capsys)
    assert "there is no folder" in error_of(["embed", EXAMPLES, tmp_path / "none" / "out.hdf5"], capsys)
    assert "not a regular file" in error_of(["embed", EXAMPLES, tmp_path], capsys)
    assert "not a regular file" in error_of(["embed", EXAMPLES, os.devnull, "--overwrite"], capsys)
    source = text("a line\n")
    assert "the same file" in error_of(["embed", source, source, "--overwrite"], capsys)
    assert Path(source).read_text() == "a line\n"
    assert "unknown model 'huge'" in error_of(["embed", EXAMPLES, output, "--model", "huge"], capsys)
    files = ["--options-file", tmp_path / "o.json", "--weight-file", tmp_path / "w.hdf5"]
    assert "o.json: no such file" in error_of(["embed", EXAMPLES, output, *files], capsys)
    (tmp_path / "o.json").write_text("{}")
    (tmp_path / "w.hdf5").write_text("not HDF5")
    assert "o.json" in error_of(["embed", EXAMPLES, output, *files], capsys)
    assert os.listdir(output.parent) == []


def test_an_existing_output(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output.write_text("precious")
    error = error_of(["embed", EXAMPLES, output], capsys)
    assert "vectors.hdf5: the output file exists already; --overwrite replaces" in error
    assert output.read_text() == "precious"
    assert main(["embed", str(EXAMPLES), str(output), "--overwrite"]) == 0
    assert len(read(output)) == len(ORDINARY) + 1


def test_a_full_disk(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        assert "vectors.hdf5: File too large" in error_of(["embed", EXAMPLES, output], capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(output.parent) == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["embed"],
        ["embed", "in", "out", "--batch-size", "0"],
        ["embed", "in", "out", "--threads", "many"],
        ["embed", "in", "out", "--output-format", "middle"],
        ["embed", "in", "out", "--state", "keep"],
        ["embed", "in", "out", "--model", "tiny", "--options-file", "o", "--weight-file", "w"],
        ["embed", "in", "out", "--options-file", "o"],
        ["translate"],
    ],
)
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_signal_handlers_are_put_back(output: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    main(["embed", str(EXAMPLES), str(output)])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@posix_only
def test_a_stop_signal_that_python_loses(capsys: pytest.CaptureFixture[str]) -> None:
    """An exception that a handler raises inside a destructor is lost: it must be raised again, without a traceback."""

    class Slow:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    hook = sys.unraisablehook
    with StopSignals() as signals:
        signals.check()
        Slow()
        with pytest.raises(Stopped):  # an impatient user
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # the cleanup goes on
        with pytest.raises(Stopped):
            signals.check()
        assert capsys.readouterr().err == ""
    assert sys.unraisablehook is hook


def wait_for(condition: Callable[[], object], process: subprocess.Popen[bytes]) -> None:
    for _ in range(1200):
        if condition():
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    pytest.fail("nothing happened for two minutes")


@posix_only
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("existing", [False, True])
def test_a_stopped_command_leaves_no_partial_file(
    output: Path, number: signal.Signals, code: int, existing: bool
) -> None:
    arguments = ["embed", "-", str(output), "--batch-size", "1", "--overwrite"]
    if existing:
        output.write_text("the old one")
    expected = os.listdir(output.parent)
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # If the tests run in the background, they and their children may ignore the signal.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as process:
        try:
            process.stdin.write(b"a line\n" * 1000)
            process.stdin.flush()
            # Datasets have been written, and it waits for more input.
            wait_for(lambda: sum(file.stat().st_size for file in output.parent.iterdir()) > 100_000, process)
            process.send_signal(number)
            error = process.stderr.read().decode()
            assert process.wait(timeout=120) == code
        finally:
            process.kill()
    assert error.splitlines()[-1] == "elmo-fast: stopped; nothing was written"
    assert "Traceback" not in error
    assert os.listdir(output.parent) == expected
    assert not existing or output.read_text() == "the old one"


@posix_only
def test_a_process_of_its_own(output: Path) -> None:
    with open(EXAMPLES, "rb") as file:
        arguments = [*COMMAND, "embed", "-", str(output)]
        done = subprocess.run(arguments, stdin=file, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert len(done.stderr.splitlines()) == 2  # no bar, for it is no terminal
    assert len(read(output)) == len(ORDINARY) + 1


@posix_only
def test_a_progress_bar_on_a_terminal(output: Path) -> None:
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))  # rows and columns
    with subprocess.Popen([*COMMAND, "embed", str(EXAMPLES), str(output)], stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 4096):
                shown += chunk
        except OSError:
            pass  # Linux's way to say that the other end is closed
        finally:
            os.close(ours)
        assert process.wait(timeout=300) == 0
    assert b"20/20" in shown
    assert b"tokens/s" in shown


@posix_only
def test_a_closed_pipe_is_no_crash() -> None:
    process = subprocess.Popen([*COMMAND, "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    error = process.stderr.read().decode()
    process.wait(timeout=300)
    process.stderr.close()
    assert "Traceback" not in error and "Exception" not in error
