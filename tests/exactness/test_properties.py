"""Any ragged batch of any ids through any small model: the native result is the float64 reference's."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tolerances import LAYER_NORM, NATIVE

from elmo_fast import Elmo, ElmoBiLm

MODELS = (
    {},
    {"activation": "tanh", "n_layers": 3, "cell_size": 17, "projection_dim": 9, "n_highway": 2, "cell_clip": 0.4},
    {"n_layers": 1, "projection_dim": 15, "cell_clip": None, "proj_clip": None, "use_skip_connections": False},
    {"max_characters": 7, "filters": ((7, 33), (2, 1)), "projection_dim": 8, "proj_clip": 0.1},
)

quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def char_ids_of(draw: st.DrawFn, max_characters: int = 50) -> torch.Tensor:
    """(batch_size, num_timesteps, max_characters): tokens of any ids, holes, empty rows, many repeated tokens."""
    batch_size, num_timesteps = draw(st.integers(1, 5)), draw(st.integers(0, 7))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    words = random.integers(0, 262, (max(1, draw(st.integers(1, 6))), max_characters))
    words[:, 0] = np.maximum(words[:, 0], 1)
    char_ids = words[random.integers(0, len(words), (batch_size, num_timesteps))]
    kind = draw(st.sampled_from(["ragged", "holes", "full"]))
    if kind == "ragged":
        lengths = np.array(draw(st.lists(st.integers(0, num_timesteps), min_size=batch_size, max_size=batch_size)))
        char_ids[np.arange(num_timesteps) >= lengths[:, None]] = 0
    elif kind == "holes":
        char_ids[random.random((batch_size, num_timesteps)) < 0.4] = 0
    return torch.from_numpy(char_ids)


@pytest.mark.parametrize("options", MODELS, ids=str)
def test_layers_over_several_calls(random_model, options: dict) -> None:  # type: ignore[no-untyped-def]
    native, reference = ElmoBiLm(*random_model(**options)), ElmoBiLm(*random_model(**options)).double()

    @quick
    @given(st.lists(char_ids_of(options.get("max_characters", 50)), min_size=1, max_size=3))
    def check(batches: list[torch.Tensor]) -> None:
        native.reset_states()
        reference.reset_states()
        for char_ids in batches:
            actual, expected = native(char_ids), reference(char_ids)
            assert torch.equal(actual["mask"], expected["mask"])
            lengths = actual["mask"].sum(dim=1)
            beyond = torch.arange(actual["mask"].shape[1]) >= lengths[:, None]
            for k, (layer, expected_layer) in enumerate(
                zip(actual["activations"], expected["activations"], strict=True)
            ):
                scale = max(1.0, expected_layer.abs().max().item())
                assert (layer - expected_layer).abs().max().item() <= NATIVE * scale
                assert not layer[~actual["mask"] if k == 0 else beyond].any()
            for part, expected_part in zip(native._elmo_lstm._states, reference._elmo_lstm._states, strict=True):
                scale = max(1.0, expected_part.abs().max().item())
                assert (part - expected_part).abs().max().item() <= NATIVE * scale

    check()


def test_a_row_does_not_depend_on_its_batch(random_model) -> None:  # type: ignore[no-untyped-def]
    bilm = ElmoBiLm(*random_model(), state="reset")

    @quick
    @given(char_ids_of(), st.integers(0, 3))
    def check(char_ids: torch.Tensor, padding: int) -> None:
        whole = bilm(torch.nn.functional.pad(char_ids, (0, 0, 0, padding)))
        for row in range(len(char_ids)):
            alone = bilm(char_ids[row : row + 1])
            width = char_ids.shape[1] + 2
            assert torch.equal(alone["mask"][0], whole["mask"][row, :width])
            assert not whole["mask"][row, width:].any()
            for layer, whole_layer in zip(alone["activations"], whole["activations"], strict=True):
                assert torch.equal(layer[0], whole_layer[row, :width])  # the same bits

    check()


@cache
def elmo_pair(files: tuple, keep: bool, do_layer_norm: bool) -> tuple[Elmo, Elmo]:
    options = {"dropout": 0.0, "keep_sentence_boundaries": keep, "do_layer_norm": do_layer_norm, "state": "reset"}
    return Elmo(*files, 1, **options), Elmo(*files, 1, **options).double()


def test_elmo_with_any_leading_dimensions(random_model) -> None:  # type: ignore[no-untyped-def]
    files = tuple(random_model())

    @quick
    @given(char_ids_of(), st.booleans(), st.booleans(), st.sampled_from([(), (1,), (2,), (1, 2)]))
    def check(char_ids: torch.Tensor, keep: bool, do_layer_norm: bool, leading: tuple[int, ...]) -> None:
        native, reference = elmo_pair(files, keep, do_layer_norm)
        char_ids = char_ids.expand(*leading, *char_ids.shape)
        actual, expected = native(char_ids), reference(char_ids)
        representation, expected_representation = (o["elmo_representations"][0] for o in (actual, expected))
        assert representation.shape == (*char_ids.shape[:-2], char_ids.shape[-2] + 2 * keep, 12)
        assert torch.equal(actual["mask"], expected["mask"])
        if representation.numel():
            tolerance = LAYER_NORM if do_layer_norm else NATIVE
            assert (representation - expected_representation).abs().max().item() <= tolerance
        if not keep:
            assert not representation[~actual["mask"]].any()

    check()
