"""A user's program: what it writes must pass type checkers, and run.

`.ci/check_types.sh` checks it with mypy and pyright; `test_user_script.py` runs it.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from typing_extensions import assert_type

import elmo_fast
from elmo_fast import Elmo, ElmoEmbedder, ElmoTokenEmbedder, Embedder, batch_to_ids, models

Vectors = npt.NDArray[np.float32]


def sentence_vectors(texts: list[str]) -> Vectors:
    embedder = elmo_fast.load("tiny", state="reset", precision="float32", device="cpu", tokenizer=str.split)
    assert_type(embedder, Embedder)
    vectors = embedder.encode(texts, pooling="mean", layers="top")
    assert_type(vectors, Vectors)
    assert_type(embedder.encode(texts, "max", [0.5, 0.25, 0.25], batch_size=2), Vectors)
    return vectors


def token_vectors(embedder: Embedder, texts: list[str], token_lists: list[list[str]]) -> list[Vectors]:
    assert_type(embedder.encode(texts), list[Vectors])
    assert_type(embedder.encode(token_lists, layers=np.ones(3)), list[Vectors])
    assert_type(embedder.encode(tuple(token_lists), pooling="tokens", layers="all"), list[Vectors])
    for layers in embedder.embed_sentences(iter(token_lists), batch_size=2):
        assert_type(layers, Vectors)
    return embedder.encode(token_lists)


def as_the_user_chooses(pooling: str, state: str, precision: str) -> int:
    """Names that only the program's user knows are plain strings."""
    embedder = elmo_fast.load(state=state, precision=precision)
    embedder.state = state
    vectors = embedder.encode(["A text."], pooling=pooling)
    assert_type(vectors, list[Vectors] | Vectors)
    return len(vectors)


def settings(embedder: Embedder) -> tuple[str, str, str, int, int]:
    info = embedder.cache_info()
    assert_type(info, elmo_fast.CacheInfo)
    assert_type(info.hits, int)
    embedder.clear_cache()
    embedder.reset_states()
    return embedder.state, embedder.precision, embedder.precision_in_use, embedder.num_layers, embedder.output_dim


def as_in_allennlp_0_9(options_file: str, weight_file: Path, folder: Path) -> Vectors:
    embedder = ElmoEmbedder(options_file, weight_file, cuda_device=-1, state="carry")
    assert_type(embedder.embed_sentence(["A", "sentence"]), Vectors)
    assert_type(embedder.embed_batch([["A", "sentence"], ["Another"]]), list[Vectors])
    embeddings, mask = embedder.batch_to_embeddings([["A", "sentence"]])
    assert_type(embeddings, Tensor)
    assert_type(mask, Tensor)
    (folder / "sentences.txt").write_text("A sentence\n", encoding="utf-8")
    with open(folder / "sentences.txt", encoding="utf-8") as lines:
        embedder.embed_file(lines, folder / "vectors.hdf5", output_format="average")
    return next(embedder.embed_sentences([["A", "sentence"]]))


class Tagger(nn.Module):
    def __init__(self, options_file: str, weight_file: str, num_tags: int) -> None:
        super().__init__()
        self.elmo = Elmo(options_file, weight_file, 1, dropout=0.0, mix="additive", mix_per_dimension=True)
        self.linear = nn.Linear(self.elmo.get_output_dim(), num_tags)

    def forward(self, sentences: list[list[str]]) -> Tensor:
        char_ids = batch_to_ids(sentences)
        assert_type(char_ids, Tensor)
        representations = self.elmo.forward(char_ids)["elmo_representations"]
        tags: Tensor = self.linear(representations[0])
        return tags


def one_representation(options_file: str, weight_file: str) -> Tensor:
    embedder = ElmoTokenEmbedder(options_file, weight_file, projection_dim=4, precision="bfloat16")
    embedder.state = "reset"
    vectors = embedder.forward(batch_to_ids([["A", "sentence"]]))
    assert_type(vectors, Tensor)
    return vectors


def what_went_wrong(folder: Path) -> str:
    try:
        elmo_fast.load((folder / "options.json", folder / "weights.hdf5"))
    except elmo_fast.DownloadError as error:
        return f"download: {error}"
    except elmo_fast.WeightsError as error:
        return f"file: {error}"
    except FileNotFoundError as error:
        return f"missing: {error}"
    return ""


def mistakes(embedder: Embedder) -> None:
    """Never called: each line is an error to a type checker, and the comment one where it is not."""
    embedder.encode(["A text."]).mean()  # type: ignore[attr-defined]
    embedder.encode(["A text."], pooling="mean").append("x")  # type: ignore[attr-defined]
    embedder.encode([1, 2])  # type: ignore[list-item]
    elmo_fast.load(state=None)  # type: ignore[arg-type]
    embedder.num_layers = "three"  # type: ignore[assignment]
    embedder.precision = "int8"  # type: ignore[misc]


def main() -> None:
    info = elmo_fast.build_info()
    assert_type(info, dict[str, Any])
    elmo_fast.set_num_threads(1)
    elmo_fast.set_isa(elmo_fast.get_isa())
    files = models.resolve("tiny")
    assert_type(files, tuple[str, str])
    embedder = elmo_fast.load()
    with torch.no_grad(), TemporaryDirectory() as folder:
        print(sentence_vectors(["One text .", "Another"]).shape)
        print([vectors.shape for vectors in token_vectors(embedder, ["One text ."], [["One", "text"], ["Another"]])])
        print(as_the_user_chooses("mean", "reset", "float32"))
        print(settings(embedder))
        print(as_in_allennlp_0_9(files[0], Path(files[1]), Path(folder)).shape)
        print(tuple(Tagger(*files, num_tags=5)([["One", "text"], ["Another"]]).shape))
        print(tuple(one_representation(*files).shape))
        print(what_went_wrong(Path("nowhere")))
    elmo_fast.set_num_threads(None)


if __name__ == "__main__":
    main()
