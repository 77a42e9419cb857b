"""`elmo-fast bench` as a whole, with the built-in model in smoke mode; its report, tables and pictures."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.sample_sentences import ORDINARY

import elmo_fast
from elmo_fast.bench import plots, report, tables
from elmo_fast.cli import main


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(" ".join(sentence) for sentence in ORDINARY), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def measured(text: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A report of all suites, and its file."""
    output = tmp_path_factory.mktemp("bench") / "deeper" / "report.json"
    settings = torch.get_num_threads(), elmo_fast.get_num_threads()
    arguments = ["bench", "--smoke", "--suite", "all", "--threads", "1", "--peers", "reference", "--text", text]
    assert main([*arguments, "--output", str(output)]) == 0
    assert settings == (torch.get_num_threads(), elmo_fast.get_num_threads()), "the command left its threads behind"
    return report.read(output), output


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a command that must fail with exit code 2 and one line; returns the line."""
    assert main(["bench", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_report(measured: tuple[dict[str, Any], Path]) -> None:
    content, output = measured
    assert [path.name for path in output.parent.iterdir()] == ["report.json"]
    assert (content["model"]["name"], content["model"]["parameters"]) == ("tiny", 743008)
    assert content["threads"] == 1 and list(content["probe"]["threads"]) == ["1"]
    assert {"elmo_fast float32", "reference"} <= set(content["implementations"])
    assert [result["suite"] for result in content["results"]] == ["table"] * 3 + ["batch"] * 3 + ["length"] * 3 + [
        "latency"
    ] * 2
    for result in content["results"]:
        assert result["figures"].keys() == content["implementations"].keys()
        assert result["skipped"] == {}
        for name, figures in result["figures"].items():
            assert figures["repeats"] == 2 and figures["milliseconds"] > 0
            assert figures["fraction_of_limit"] > 0 and figures["bound_by"] in ("arithmetic", "memory")
            assert name == "reference" or result["times_faster"][name]["reference"] > 0
    assert str(Path.home()) not in output.read_text() or str(Path.home()) == "/"


def test_a_recorded_run_is_shown_again(
    measured: tuple[dict[str, Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--from-json", str(measured[1])]) == 0
    out = capsys.readouterr().out
    for heading in ("machine's limits", "one sentence of 10 tokens", "tokens/s by batch size", "latency, one sentence"):
        assert f"| {heading}" in out
    rows = [line for line in out.splitlines() if line.startswith("| reference")]
    assert len(rows) == 7
    assert {line.count("|") for line in rows} <= {5, 6}


def test_errors(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    empty, other = tmp_path / "empty.txt", tmp_path / "other.json"
    empty.write_text("\n \n")
    other.write_text('{"schema": "something else"}')
    assert "expected tiny, small, medium, original or a folder" in error_of(["--model", "huge"], capsys)
    assert "expected tokenised sentences, one per line, got none" in error_of(["--text", str(empty)], capsys)
    assert "no such file" in error_of(["--text", str(tmp_path / "none.txt")], capsys).lower()
    assert "schema 'elmo_fast.bench'" in error_of(["--from-json", str(other)], capsys)
    assert "not a JSON file" in error_of(["--from-json", str(empty)], capsys)
    assert "expected an object with 'models'" in error_of(["--errors", str(other), "--text", text], capsys)
    assert "is a folder" in error_of(["--output", str(tmp_path), "--text", text], capsys)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "needs matplotlib" in error_of(["--plot", str(tmp_path)], capsys)
    for arguments in (["--peers", "nobody"], ["--precision", "float8"], ["--repeats", "0"], ["--suite", "x"]):
        with pytest.raises(SystemExit) as stop:
            main(["bench", *arguments])
        assert stop.value.code == 2 and arguments[0] in capsys.readouterr().err


def test_importing_the_package_does_not_import_the_benchmarks() -> None:
    code = "import sys, elmo_fast; print([n for n in sys.modules if 'bench' in n and n.startswith('elmo_fast')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["schema_version"], 2, "expected schema_version 1, got 2"),
        (["threads"], "two", "threads: unexpected 'two'"),
        (["probe"], None, "probe: unexpected None"),
        (["results", 0, "fresh_text"], 1, r"results\[0\]: fresh_text: unexpected 1"),
        (["results", 1, "figures", "reference", "p50"], "x", r"results\[1\]: figures\['reference'\]: p50"),
    ],
)
def test_a_report_is_checked(
    measured: tuple[dict[str, Any], Path], tmp_path: Path, path: list[Any], value: object, message: str
) -> None:
    content = copy.deepcopy(measured[0])
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        report.write(content, tmp_path / "report.json")
    del place[path[-1]]
    with pytest.raises(ValueError, match=path[-1]):
        report.check(content)
    assert list(tmp_path.iterdir()) == []


def test_a_report_that_cannot_be_written_leaves_nothing(
    measured: tuple[dict[str, Any], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*paths: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(report.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        report.write(measured[0], tmp_path / "report.json")
    assert list(tmp_path.iterdir()) == []


def original_report(measured: dict[str, Any]) -> dict[str, Any]:
    """The report as if of the original model, 2 threads, with AllenNLP 3 times slower in the first workload."""
    content = copy.deepcopy(measured)
    content["model"]["name"], content["threads"] = "original", 2
    content["disturbance"] = {"other_cores": 0.1, "stolen_cores": 0.05}
    content["machine"]["isa"] = content["machine"]["isas_available"][-1]
    content["implementations"]["allennlp"] = {"precision": "float32", "precision_in_use": "float32"}
    for result, workload in zip(content["results"], tables._FLOOR_WORKLOADS, strict=False):
        result["workload"] = workload
        result["figures"]["allennlp"] = result["figures"]["reference"]
        result["times_faster"]["elmo_fast float32"]["allennlp"] = 3.0
    return content


def test_floors(measured: tuple[dict[str, Any], Path]) -> None:
    content = original_report(measured[0])

    def floors() -> str:
        lines = tables.render(content).split("times faster than AllenNLP in float32")[1].splitlines()
        return next(line for line in lines if line.startswith("| elmo_fast float32"))

    assert floors().count("3.0x (floor 2.7 held)") == 1
    assert floors().count("**missed**") == 2
    content["threads"] = 1
    assert floors().count("not claimed: 2 threads only") == 3
    content["threads"] = 2
    content["disturbance"]["stolen_cores"] = 1.25
    assert floors().count("not claimed: other work took 1.4 of") == 3
    content["disturbance"]["stolen_cores"] = None
    assert floors().count("not claimed: what else ran meanwhile is unknown") == 3
    content["disturbance"]["stolen_cores"] = 0.0
    content["implementations"]["elmo_fast float32"]["precision"] = "bf16x3"
    assert "3.0x (floor 1.5 not claimed: runs as float32)" in floors()
    content["implementations"]["elmo_fast float32"] = {"precision": "int8", "precision_in_use": "int8"}
    if content["machine"]["isa"] != "amx":
        assert "(floor 9.5 not claimed: no AMX)" in floors()


def test_pictures(measured: tuple[dict[str, Any], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib, the extra 'plot', is not installed")
    arguments = ["bench", "--from-json", str(measured[1]), "--plot", str(tmp_path / "figures")]
    assert main(arguments) == 0
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    stem = plots._stem(measured[0])
    assert names == {f"{stem}_batch.png", f"{stem}_length.png"}
    assert f"no picture {stem}_error: no errors given" in capsys.readouterr().err
    errors = tmp_path / "errors.json"
    errors.write_text(json.dumps({"models": {"tiny": {"float32": {"in_use": "float32", "rms": 1e-7, "max": 1e-6}}}}))
    assert main([*arguments, "--errors", str(errors)]) == 0
    pictures = sorted((tmp_path / "figures").iterdir())
    assert [path.name for path in pictures] == [f"{stem}_{name}.png" for name in ("batch", "error", "length")]
    assert all(path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000 for path in pictures)
    errors.write_text(json.dumps({"models": {"tiny": {"float32": {"in_use": "int8", "rms": 1e-7}}}}))
    drawn = plots.draw([measured[0]], tmp_path / "figures", json.loads(errors.read_text()))
    assert any(str(picture).startswith(f"no picture {stem}_error: no precision") for picture in drawn)


def test_no_pictures_is_an_error(
    measured: tuple[dict[str, Any], Path], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib, the extra 'plot', is not installed")
    figures = str(tmp_path / "figures")
    # Without figures of these suites it is known before anything is measured.
    assert "plot: nothing to draw from --suite table latency: add --suite batch" in error_of(
        ["--plot", figures, "--suite", "table", "latency", "--text", text], capsys
    )
    content = copy.deepcopy(measured[0])
    content["results"] = [result for result in content["results"] if result["suite"] == "table"]
    report.write(content, tmp_path / "table.json")
    assert main(["bench", "--from-json", str(tmp_path / "table.json"), "--plot", figures]) == 2
    *missing, error = capsys.readouterr().err.splitlines()
    assert len(missing) == 3 and all(line.startswith("no picture tiny_1thread_") for line in missing)
    assert error == f"elmo-fast: error: plot: no picture was drawn in {figures}"
    assert not Path(figures).exists()


def test_more_threads_than_processors(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    arguments = ["--smoke", "--suite", "latency", "--precision", "float32", "--peers", "--text", text]
    assert main(["bench", *arguments, "--threads", "2"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if "--threads" in line]
    assert len(lines) == 1 and lines[0].startswith("elmo-fast: warning: --threads 2 is more than the 1 available")
