"""The scripts of `examples/`: each runs, learns, repeats itself, and says what is wrong with a file."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from random import Random

import pytest

PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = PROJECT / "examples"
PARTS = ("train", "dev", "test")

# The scripts set torch's threads and elmo_fast's, and some tests run them in this process.
pytestmark = pytest.mark.usefixtures("one_torch_thread", "num_threads")

NEEDS_SCIKIT_LEARN = pytest.mark.skipif(find_spec("sklearn") is None, reason="no scikit-learn")
SCRIPTS = [pytest.param("classify_sentences", marks=NEEDS_SCIKIT_LEARN), "tag_words", "fine_tune"]
SMALL = {
    "classify_sentences": "--limit=1200",
    "tag_words": "--limit=200 --epochs=1",
    "fine_tune": "--limit=100 --epochs=1",
}
TRAINED_BILM = 700_000  # the built-in model has 743,008 weights, the tagger above it 40,000

SUBJECTS = [
    "you PRON",
    "they PRON",
    "the DET boys NOUN",
    "my PRON old ADJ friends NOUN",
    "Ann PROPN and CCONJ Tom PROPN",
]
VERBS = ["see", "sell", "want", "remember", "like"]
OBJECTS = ["the DET house NOUN", "a DET red ADJ car NOUN", "this DET book NOUN", "two NUM birds NOUN", "him PRON"]


def write_tagged(path: Path, seed: int, count: int = 60) -> Path:
    """Writes questions and statements in turn, of the same words, in lines of word, tab, tag."""
    random, sentences = Random(seed), []
    for number in range(count):
        subject, verb, target = random.choice(SUBJECTS), random.choice(VERBS), random.choice(OBJECTS)
        first, mark = ("do AUX ", "?") if number % 2 else ("", ".")
        fields = f"{first}{subject} {verb} VERB {target} {mark} PUNCT".split()
        sentences.append("".join(f"{word}\t{tag}\n" for word, tag in zip(fields[::2], fields[1::2], strict=True)))
    path.write_text("\n".join(sentences), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def own_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("tagged")
    return {part: write_tagged(folder / f"{part}.tsv", seed) for seed, part in enumerate(PARTS)}


def arguments_of(script: str, files: dict[str, Path], options: str = "") -> list[str]:
    parts = PARTS if script != "classify_sentences" else ("train", "test")
    return [*(f"--{part}={files[part]}" for part in parts), *options.split()]


def run(script: str, arguments: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, str(EXAMPLES / f"{script}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=PROJECT, timeout=300)


def output_of(script: str, arguments: list[str]) -> str:
    result = run(script, arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout


def check_scores(script: str, output: str, least: float = 0.0) -> None:
    baseline = float(re.search(r"majority baseline\W+([\d.]+)%", output)[1])
    scores = [float(score) for score in re.findall(r"test accuracy: ([\d.]+)%", output)]
    assert len(scores) == (2 if script == "fine_tune" else 1), output
    assert all(max(baseline, least) < score <= 100 for score in scores), output
    if script == "fine_tune":
        frozen, tuned = (int(n.replace(",", "")) for n in re.findall(r"([\d,]+) weights are trained", output))
        assert frozen < TRAINED_BILM < tuned, output


@pytest.mark.parametrize("script", SCRIPTS)
def test_beats_the_majority_on_real_text(test_data: Path, script: str) -> None:
    folder = test_data / "data" / "ewt_pos"
    if not folder.is_dir():
        pytest.skip(f"no tagged text in {folder}")
    files = {part: folder / f"ewt_pos_{part}.tsv.gz" for part in PARTS}
    check_scores(script, output_of(script, arguments_of(script, files, SMALL[script])))


@pytest.mark.parametrize("script", SCRIPTS)
def test_learns_text_of_its_own(own_files: dict[str, Path], script: str) -> None:
    options = "" if script == "classify_sentences" else "--epochs=8"
    check_scores(script, output_of(script, arguments_of(script, own_files, options)), least=85)


def run_here(
    script: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Runs a script in this process, which starts faster, and returns its standard output."""
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *arguments])
    monkeypatch.syspath_prepend(str(EXAMPLES))
    runpy.run_path(str(EXAMPLES / f"{script}.py"), run_name="__main__")
    return capsys.readouterr().out


def test_the_same_seed_gives_the_same_scores(own_files, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    """All but the seconds, in another process too; another seed gives others."""

    def epochs(output: str) -> list[str]:
        return re.findall(r"^ +\d.*%.*(?= +\d+\.\d$)", output, re.M)

    same, other = (arguments_of("tag_words", own_files, f"--epochs=2 --seed={seed}") for seed in (0, 1))
    first = epochs(run_here("tag_words", same, monkeypatch, capsys))
    assert len(first) == 2 and first == epochs(output_of("tag_words", same))
    assert first != epochs(run_here("tag_words", other, monkeypatch, capsys))
    assert "0.333 0.333 0.333" not in first[-1], "the mix was not trained"


def test_plain_text_is_read_as_tagged_text_is(own_files, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from tagged_text import read_tagged, read_words

    sentences = [words for words, _ in read_tagged(own_files["train"])]
    plain = tmp_path / "plain.txt"
    plain.write_text("\n\n".join(map(" ".join, sentences)), encoding="utf-8")
    assert len(sentences) == 60 and read_words(plain) == read_words(own_files["train"]) == sentences


@NEEDS_SCIKIT_LEARN
@pytest.mark.parametrize(
    "text, expected",
    [
        ("Are you sure ?", ("Are you sure", True)),
        ("Are you very sure ? ! )", ("Are you very sure", True)),
        ('" You are sure . "', ('" You are sure', False)),
        ('" Why ? " he asked .', ('" Why ? " he asked', False)),
        ("no mark at all", None),
        ("Thanks , Ann", None),
        ("Really so ?", None),
        ("?", None),
    ],
)
def test_the_label_is_taken_away(text: str, expected: tuple[str, bool] | None, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from classify_sentences import question_or_statement

    found = question_or_statement(text.split())
    assert (found and (" ".join(found[0]), found[1])) == expected


def test_batches_hold_every_sentence_once(own_files, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from tagged_text import batches, draw, read_tagged

    sentences = read_tagged(own_files["train"])
    cut, other = (batches(sentences, 16, seed) for seed in (0, 1))
    assert sorted(map(len, cut)) == [12, 16, 16, 16] and cut != other
    assert sorted(sentence for batch in cut for sentence in batch) == sorted(sentences)
    assert sorted(draw(sentences, None, 0)) == sorted(sentences) and len(draw(sentences, 7, 0)) == 7
    assert len(draw(sentences, 1000, 0)) == 60


def test_the_tagger_carries_no_state(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from tag_words import Tagger

    assert Tagger("tiny", ["NOUN", "VERB"]).elmo.state == "reset"


def error_of(
    script: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """What a script writes to standard error before it exits with status 2."""
    with pytest.raises(SystemExit) as exit:
        run_here(script, arguments, monkeypatch, capsys)
    assert exit.value.code == 2
    return " ".join(capsys.readouterr().err.split())


GOOD = b"the\tDET\nend\tNOUN\n\n"
BAD_FILES = {
    "no tab": (GOOD + b"end NOUN\n", r":4: expected a word, a tab and a tag, or an empty line, got 'end NOUN'"),
    "two tabs": (b"the\tDET\tx\n", r":1: expected a word, a tab and a tag, .*got 'the\\tDET\\tx'"),
    "no word": (GOOD + b"\tDET\n", r":4: expected .*got '\\tDET'"),
    "no tag": (GOOD + b"end\t\n", r":4: expected .*got 'end\\t'"),
    "blank": (GOOD + b" \n", r":4: expected .*got ' '"),
    "not UTF-8": (GOOD + b"caf\xe9\tNOUN\n", r":4: expected UTF-8 text, got b'caf\\xe9\\tNOUN\\n'"),
    "no sentence": (b"\n\n", r": expected at least one tagged sentence, got none"),
    "absent": (None, r": no such file"),
}


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("case", BAD_FILES)
def test_a_wrong_file_is_named(script, case, own_files, tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    content, message = BAD_FILES[case]
    wrong = tmp_path / "wrong.tsv"
    if content is not None:
        wrong.write_bytes(content)
    error = error_of(script, arguments_of(script, {**own_files, "test": wrong}), monkeypatch, capsys)
    assert re.search(f"error: {re.escape(str(wrong))}{message}", error), error


@pytest.mark.parametrize("content", [GOOD, b"\x1f\x8b\x08\x00" + bytes(20)], ids=["plain", "damaged"])
def test_a_wrong_gzip_file_is_named(content, own_files, tmp_path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    wrong = tmp_path / "wrong.tsv.gz"
    wrong.write_bytes(content)
    error = error_of("tag_words", arguments_of("tag_words", {**own_files, "dev": wrong}), monkeypatch, capsys)
    assert f"error: {wrong}: expected a whole gzip file, as its name ends in .gz" in error


@pytest.mark.parametrize(
    "option, message",
    [("--limit=0", "--limit: expected an integer of 1 or more, got '0'"), ("--model=none", "unknown model 'none'")],
)
def test_a_wrong_option_is_named(option, message, own_files, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    assert message in error_of("fine_tune", arguments_of("fine_tune", own_files, option), monkeypatch, capsys)


@NEEDS_SCIKIT_LEARN
def test_too_few_questions(own_files: dict[str, Path], monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    arguments = arguments_of("classify_sentences", own_files, "--limit=6")
    error = error_of("classify_sentences", arguments, monkeypatch, capsys)
    assert re.search(r"train.tsv: expected at least 5 questions and 5 statements, got \d and \d in 6 sentences", error)


def test_without_scikit_learn_it_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "sklearn.py").write_text("raise ImportError('not here')", encoding="utf-8")
    result = run("classify_sentences", ["--help"], PYTHONPATH=str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.strip().endswith("needs scikit-learn: python -m pip install scikit-learn")


@pytest.mark.parametrize("script", ["classify_sentences", "tag_words", "fine_tune"])
def test_the_page_shows_it(script: str) -> None:
    assert f"python examples/{script}.py --" in (PROJECT / "docs" / "examples.md").read_text(encoding="utf-8")
