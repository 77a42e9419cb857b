"""Finds the parts of a model, AllenNLP's or this package's: both have them under the same names."""

from __future__ import annotations

from typing import Any

LSTM_OF_ELMO = ".".join(["_elmo_lstm"] * 2)
"""The path of the LSTM inside an `Elmo`: the biLM and the LSTM inside it have the same name."""


def bilm_of(elmo: Any) -> Any:
    """Returns the biLM of an `Elmo` or an `ElmoTokenEmbedder`."""
    return getattr(elmo, "_elmo", elmo)._elmo_lstm


def lstm_of(elmo: Any) -> Any:
    """Returns the LSTM of an `Elmo` or an `ElmoTokenEmbedder`."""
    return bilm_of(elmo)._elmo_lstm


def encoder_of(elmo: Any) -> Any:
    """Returns the token encoder of an `Elmo` or an `ElmoTokenEmbedder`."""
    return bilm_of(elmo)._token_embedder
