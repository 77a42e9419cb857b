"""Fixtures for all tests: where the test data is, the built-in model, random models."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers.random_model import write_random_model

import elmo_fast

PROJECT = Path(__file__).resolve().parent.parent

# torch keeps compiled programs: those of a version with other operators would be run instead of this version's.
_compiled_programs = tempfile.TemporaryDirectory(prefix="elmo_fast_tests_")
os.environ["TORCHINDUCTOR_CACHE_DIR"] = _compiled_programs.name


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of golden outputs and real text, which is not part of the project; skips the test without it."""
    folder = Path(os.environ.get("ELMO_FAST_TEST_DATA", PROJECT.parent / "shared"))
    if not (folder / "golden").is_dir():
        pytest.skip(f"no test data in {folder}: set ELMO_FAST_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def tiny_model() -> tuple[str, str]:
    """Options and weights of the built-in model."""
    from elmo_fast import models

    return models.resolve("tiny")


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Path]]:
    """A function from `write_random_model`'s options to the two files, written once per set of options."""
    written: dict[str, tuple[Path, Path]] = {}

    def model(**options: object) -> tuple[Path, Path]:
        key = repr(sorted(options.items()))
        if key not in written:
            written[key] = write_random_model(tmp_path_factory.mktemp("random_model"), **options)
        return written[key]

    return model


@pytest.fixture(scope="session")
def allennlp(test_data: Path):  # type: ignore[no-untyped-def]
    """AllenNLP 2.10.1's ELMo classes as a module; skips the test where it cannot be imported."""
    tools = str(test_data / "tools")
    sys.path.insert(0, tools)
    try:
        import allennlp_peer
    except ImportError as error:
        pytest.skip(f"AllenNLP 2.10.1 cannot be imported: {error}")
    finally:
        sys.path.remove(tools)
    return allennlp_peer


@pytest.fixture
def every_isa():  # type: ignore[no-untyped-def]
    """The instruction sets of this machine; the one in use is restored after the test."""
    before = elmo_fast.get_isa()
    yield elmo_fast.build_info()["isas_available"]
    elmo_fast.set_isa(before)


@pytest.fixture(scope="module")
def one_torch_thread():  # type: ignore[no-untyped-def]
    """One thread for torch: with more, products of small matrices crawl on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def num_threads():  # type: ignore[no-untyped-def]
    """Sets the number of native threads for one test."""
    yield elmo_fast.set_num_threads
    elmo_fast.set_num_threads(None)
