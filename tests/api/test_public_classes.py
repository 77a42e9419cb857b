"""What the public classes share: a state that can be read and set, and a `repr` that says what they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

import elmo_fast
from elmo_fast import Elmo, ElmoBiLm, ElmoEmbedder, ElmoTokenEmbedder, argument_types, batch_to_ids, models
from elmo_fast.elmo import _MIXES
from elmo_fast.outputs.hdf5 import OUTPUT_FORMATS
from elmo_fast.precision import PRECISIONS
from elmo_fast.state import STATE_MODES

TINY = "model='tiny', num_layers=3, output_dim=128, "


def test_the_types_of_names_are_those_that_are_checked() -> None:
    assert get_args(argument_types.StateMode) == STATE_MODES
    assert get_args(argument_types.Precision) == PRECISIONS
    assert get_args(argument_types.OutputFormat) == OUTPUT_FORMATS
    assert get_args(argument_types.Mix) == _MIXES


@pytest.mark.parametrize(
    "make",
    [
        lambda files: Elmo(*files, 1),
        lambda files: ElmoTokenEmbedder(*files),
        lambda files: ElmoBiLm(*files),
        lambda files: ElmoBiLm(*files)._elmo_lstm,
        lambda files: ElmoEmbedder(*files),
        lambda files: elmo_fast.load(files, state="carry"),
    ],
    ids=["Elmo", "ElmoTokenEmbedder", "ElmoBiLm", "ElmoLstm", "ElmoEmbedder", "load"],
)
def test_state_can_be_read_and_set(make: Callable[[tuple[str, str]], Any], tiny_model: tuple[str, str]) -> None:
    made = make(tiny_model)
    assert made.state == "carry"
    for mode in STATE_MODES:
        made.state = mode
        assert made.state == mode
    with pytest.raises(ValueError, match="state: expected one of 'carry', 'reset', 'frozen', got 'keep'"):
        made.state = "keep"
    assert made.state == "frozen"


def test_a_token_embedders_state_is_that_of_its_bilm(tiny_model: tuple[str, str]) -> None:
    embedder = ElmoTokenEmbedder(*tiny_model, dropout=0.0, state="reset")
    char_ids = batch_to_ids([["a", "sentence"]])
    with torch.no_grad():
        fresh = embedder(char_ids)
        assert torch.equal(embedder(char_ids), fresh)
        embedder.state = "carry"
        assert torch.equal(embedder(char_ids), fresh)
        assert not torch.equal(embedder(char_ids), fresh)


def test_repr_of_elmo(tiny_model: tuple[str, str]) -> None:
    elmo = Elmo(*tiny_model, 1, state="reset", precision="int8")
    lines = repr(elmo).splitlines()
    assert lines[:3] == [
        "Elmo(",
        f"  {TINY}state='reset', precision='int8', device='cpu'",
        "  (_elmo_lstm): ElmoBiLm(",
    ]
    assert "  (_dropout): Dropout(p=0.5, inplace=False)" in lines  # torch's tree is still there
    elmo.state = "frozen"
    elmo.to("meta")
    assert repr(elmo).splitlines()[1] == (
        f"  {TINY}state='frozen', precision='int8' (runs as 'float32'), device='meta'"
    )


def test_repr_of_a_token_embedder(tiny_model: tuple[str, str]) -> None:
    assert repr(ElmoTokenEmbedder(*tiny_model, projection_dim=7)).splitlines()[:4] == [
        "ElmoTokenEmbedder(",
        "  output_dim=7",
        "  (_elmo): Elmo(",
        f"    {TINY}state='carry', precision='float32', device='cpu'",
    ]


def test_repr_of_elmo_around_a_module(tiny_model: tuple[str, str]) -> None:
    bilm = ElmoBiLm(*tiny_model)
    assert repr(Elmo(None, None, 1, module=bilm)).splitlines()[1] == (
        f"  {TINY}state='carry', precision='float32', device='cpu'"
    )

    class Other(nn.Module):
        num_layers = 2

    assert repr(Elmo(None, None, 1, module=Other())).splitlines()[:2] == ["Elmo(", "  (_elmo_lstm): Other()"]


def test_models_are_described_by_name_folder_or_weights_file(tmp_path: Path) -> None:
    assert models.describe("tiny") == "tiny"
    assert models.describe(tmp_path) == str(tmp_path)
    assert models.describe(models.resolve("tiny")) == "tiny"
    assert models.describe(list(models.PUBLISHED_URLS["original_5.5B"])) == "original_5.5B"
    assert models.describe(("o.json", Path("folder") / "w.hdf5")) == str(Path("folder") / "w.hdf5")
