"""A small tagger as AllenNLP's users write it, around `elmo_token_embedder`, with its data and a training loop."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from elmo_fast.bench.peers.allennlp import _stand_ins
from helpers.sample_sentences import ORDINARY

STEPS = 20

_own: dict[str, ModuleType] = {}


@contextlib.contextmanager
def own_allennlp(test_data: Path) -> Iterator[Any]:
    """A copy of AllenNLP that other tests do not see: they may ask for one not yet imported, or not patched.

    Yields what the fixture `allennlp` of conftest.py is; skips the test where it cannot be imported.
    """
    others = _take_allennlp()
    sys.modules.update(_own)
    sys.path.insert(0, str(test_data / "tools"))
    try:
        yield importlib.import_module("allennlp_peer")
    except ImportError as error:
        pytest.skip(f"AllenNLP 2.10.1 cannot be imported: {error}")
    finally:
        sys.path.remove(str(test_data / "tools"))
        _own.update(_take_allennlp())
        sys.modules.update(others)


def _take_allennlp() -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in [*sys.modules] if name.startswith("allennlp")}


@functools.cache
def import_models() -> None:
    """Imports what AllenNLP needs to build models from `Params`; skips the test where that cannot be imported.

    As for the peer, stand-ins take the place of what is never called, and are gone afterwards.
    """
    with _stand_ins(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("allennlp.models", "allennlp.predictors", "allennlp.training"):
            try:
                importlib.import_module(name)
            except ImportError as error:
                pytest.skip(f"{name} cannot be imported: {error}")


@functools.cache
def tagger_class() -> Any:
    """The model's class, registered as "elmo_fast_tagger"."""
    import_models()
    from allennlp.data import Vocabulary
    from allennlp.models import Model
    from allennlp.modules import TextFieldEmbedder
    from allennlp.nn.util import get_text_field_mask

    @Model.register("elmo_fast_tagger")
    class Tagger(Model):
        def __init__(self, vocab: Vocabulary, text_field_embedder: TextFieldEmbedder) -> None:
            super().__init__(vocab)
            self.text_field_embedder = text_field_embedder
            self.layer = torch.nn.Linear(text_field_embedder.get_output_dim(), vocab.get_vocab_size("labels"))

        def forward(self, tokens: Any, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            mask = get_text_field_mask(tokens)
            logits = self.layer(self.text_field_embedder(tokens))
            return {"loss": torch.nn.functional.cross_entropy(logits[mask], labels[mask]), "logits": logits}

    # AllenNLP reads annotations as they are, and here they are strings.
    Tagger.__init__.__annotations__.update(vocab=Vocabulary, text_field_embedder=TextFieldEmbedder)
    return Tagger


def batches() -> list[dict[str, Any]]:
    """Batches of unequal size and lengths; a word's label is its first letter's."""
    import_models()
    from allennlp.data import Batch, Instance, Token
    from allennlp.data.fields import SequenceLabelField, TextField
    from allennlp.data.token_indexers import ELMoTokenCharactersIndexer

    result = []
    for first, last in ((0, 4), (4, 6), (1, 6)):
        instances = []
        for words in ORDINARY[first:last]:
            text = TextField([Token(word) for word in words], {"elmo": ELMoTokenCharactersIndexer()})
            labels = SequenceLabelField([f"label_{ord(word[0]) % 3}" for word in words], text)
            instances.append(Instance({"tokens": text, "labels": labels}))
        batch = Batch(instances)
        batch.index_instances(vocabulary())
        result.append(batch.as_tensor_dict())
    return result


@functools.cache
def vocabulary() -> Any:
    """The labels."""
    import_models()
    from allennlp.data import Vocabulary

    return Vocabulary({"labels": {f"label_{k}": 1 for k in range(3)}}, non_padded_namespaces=["labels"])


def tagger_params(files: tuple[str | Path, str | Path], **options: Any) -> dict[str, Any]:
    """The configuration of a model: `elmo_token_embedder` of these files, with these options, without dropout."""
    embedder = {"type": "elmo_token_embedder", "dropout": 0.0, **options}
    embedder["options_file"], embedder["weight_file"] = map(str, files)
    return {"type": "elmo_fast_tagger", "text_field_embedder": {"token_embedders": {"elmo": embedder}}}


def make_tagger(files: tuple[str | Path, str | Path], **options: Any) -> Any:
    """Builds it, the same each time."""
    tagger_class()
    from allennlp.common import Params
    from allennlp.models import Model

    torch.manual_seed(0)
    return Model.from_params(Params(tagger_params(files, **options)), vocab=vocabulary())


def optimizer_of(model: torch.nn.Module) -> torch.optim.Optimizer:
    """As AllenNLP's trainer makes one: of the parameters that get gradients."""
    return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[float]:
    """Trains for `STEPS` steps; returns their losses."""
    model.train()
    data = batches()
    losses = []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = model(**data[step % len(data)])["loss"]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
