"""One part of AllenNLP's ELMo -> the same part of this package, around the same parameters.

A part is recognised by the module and name of its class, so AllenNLP is never imported here. The new part takes over
the torch modules that hold the weights (convolutions, linear layers, the lists of mixing weights), not copies of them:
an optimizer, a parametrisation or a `requires_grad` flag keeps its meaning. The old part is not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from elmo_fast.allennlp.foreign import CannotReplace, check_class, check_inner, check_leaf, check_untouched, class_name
from elmo_fast.bilm import ElmoBiLm
from elmo_fast.cuda.graphs import GraphCache
from elmo_fast.elmo import Elmo
from elmo_fast.encoder import ElmoCharacterEncoder
from elmo_fast.lstm import ElmoLstm
from elmo_fast.scalar_mix import ScalarMix
from elmo_fast.weights import EncoderWeights, LstmWeights
from elmo_fast.weights.options import Options

# (module, name) of AllenNLP's classes that are not parts themselves, but belong to one.
_CELL = ("allennlp.modules.lstm_cell_with_projection", "LstmCellWithProjection")
_HIGHWAY = ("allennlp.modules.highway", "Highway")
_MIX = ("allennlp.modules.scalar_mix", "ScalarMix")
_EMBEDDING = ("allennlp.modules.token_embedders.embedding", "Embedding")


class Settings(NamedTuple):
    """The settings of the new parts; see `elmo_fast.accelerate`."""

    precision: str
    state: str | None
    word_cache_size: int
    cuda_graphs: bool
    checkpointing: bool


Children = Mapping[str, Any]  # modules


def allennlps_class(module: nn.Module) -> type | None:
    """Returns the one of AllenNLP's classes in `KINDS` that a module is an instance of, or None."""
    return next((base for base in type(module).__mro__ if class_name(base) in KINDS), None)


def convert(part: nn.Module, children: Children, settings: Settings) -> nn.Module:
    """Makes this package's counterpart of one of AllenNLP's modules.

    Args:
        part: an instance of one of AllenNLP's classes in `KINDS`; it is not changed.
        children: its submodules by name, of which those that can be replaced have been replaced.
        settings: the settings of the new part.
    Raises:
        CannotReplace: the part is not as AllenNLP makes it.
    """
    kind = allennlps_class(part)
    assert kind is not None
    check_class(part, kind)
    check_untouched(part)
    try:
        new = KINDS[class_name(kind)](part, children, settings)
    except (AttributeError, KeyError) as error:
        raise CannotReplace(f"it is not as AllenNLP 2 makes it: {error!r}") from error
    if _structure(part) != _structure(new):
        raise CannotReplace("it holds other submodules, parameters or buffers than AllenNLP's")
    for old, fresh in zip(*(one.named_modules(remove_duplicate=False) for one in (part, new)), strict=True):
        fresh[1].training = old[1].training
    for name, value in vars(part).items():  # attributes that its owner added
        if name not in vars(new) and not hasattr(type(new), name):
            vars(new)[name] = value
    return new


def _structure(module: nn.Module) -> tuple[list[str], list[tuple[str, int]], list[tuple[str, int]]]:
    """Returns the names of everything in it, and the identities of its parameters and buffers."""
    return (
        [name for name, _ in module.named_modules(remove_duplicate=False)],
        [(name, id(parameter)) for name, parameter in module.named_parameters(remove_duplicate=False)],
        [(name, id(buffer)) for name, buffer in module.named_buffers(remove_duplicate=False)],
    )


def _blank(kind: type[nn.Module]) -> Any:
    """Returns an instance without running its constructor, which would read files."""
    module = kind.__new__(kind)
    nn.Module.__init__(module)
    return module


def _empty(*shape: int) -> np.ndarray:
    # Never written to, so it takes no memory: the part's own parameters replace it.
    return np.empty(shape, np.float32)


def _character_encoder(part: Any, children: Children, settings: Settings) -> nn.Module:
    options = part._options["char_cnn"]
    convolutions = [children[f"char_conv_{i}"] for i in range(len(part._convolutions))]
    for i, convolution in enumerate(convolutions):
        check_leaf(convolution, f"char_conv_{i}", nn.Conv1d, ("weight", "bias"))
    highways, projection = children["_highways"], children["_projection"]
    check_inner(highways, "_highways", _HIGHWAY)
    if highways._activation is not nn.functional.relu:
        raise CannotReplace("its _highways have another activation than relu")
    for k, layer in enumerate(highways._layers):
        check_leaf(layer, f"_highways._layers.{k}", nn.Linear, ("weight", "bias"))
    check_leaf(projection, "_projection", nn.Linear, ("weight", "bias"))

    def pair(module: Any) -> tuple[np.ndarray, np.ndarray]:
        return _empty(*module.weight.shape), _empty(*module.bias.shape)

    embedding = part._char_embedding_weights
    sizes = Options(
        activation=options["activation"],
        char_embedding_dim=embedding.shape[1],
        filters=tuple((module.weight.shape[2], module.weight.shape[0]) for module in convolutions),
        n_highway=len(highways._layers),
        max_characters=options["max_characters_per_token"],
        cell_size=0,  # of the LSTM; the encoder uses none of these
        projection_dim=part.output_dim,
        n_layers=0,
        cell_clip=0.0,
        proj_clip=0.0,
        use_skip_connections=True,
        raw=part._options,
    )
    weights = EncoderWeights(
        char_embedding=_empty(*embedding.shape),
        convolutions=tuple(map(pair, convolutions)),
        highways=tuple(map(pair, highways._layers)),
        projection=pair(projection),
    )
    new: Any = ElmoCharacterEncoder(
        "", part._weight_file, weights=(sizes, weights), precision=settings.precision,
        word_cache_size=settings.word_cache_size,
        checkpointing=settings.checkpointing,
    )  # fmt: skip
    new.requires_grad = part.requires_grad
    new._char_embedding_weights = embedding
    for i, convolution in enumerate(convolutions):
        setattr(new, f"char_conv_{i}", convolution)
    new._convolutions = convolutions
    new._highways._layers = highways._layers
    new._projection = projection
    for name in ("_beginning_of_sentence_characters", "_end_of_sentence_characters"):
        if not torch.equal(getattr(new, name), getattr(part, name).cpu()):
            raise CannotReplace(f"its {name} are not the usual ones")
    return new


def _lstm(part: Any, children: Children, settings: Settings) -> nn.Module:
    names = [(f"forward_layer_{k}", f"backward_layer_{k}") for k in range(part.num_layers)]
    cells = [tuple(children[name] for name in pair) for pair in names]
    for pair, cell_pair in zip(names, cells, strict=True):
        for name, cell, forward in zip(pair, cell_pair, (True, False), strict=True):
            check_inner(cell, name, _CELL)
            check_leaf(cell.input_linearity, f"{name}.input_linearity", nn.Linear, ("weight",))
            check_leaf(cell.state_linearity, f"{name}.state_linearity", nn.Linear, ("weight", "bias"))
            check_leaf(cell.state_projection, f"{name}.state_projection", nn.Linear, ("weight",))
            if cell.go_forward is not forward or cell.input_linearity.bias is not None:
                raise CannotReplace(f"its {name} has another direction or bias than AllenNLP's")
    switches = ("recurrent_dropout_probability", "memory_cell_clip_value", "state_projection_clip_value")
    settings_of_cells = {tuple(getattr(cell, name) for name in switches) for pair in cells for cell in pair}
    if len(settings_of_cells) != 1:
        raise CannotReplace(f"its cells differ in {', '.join(switches)}")

    def blank(cell: Any) -> LstmWeights:
        gates = 4 * cell.cell_size
        return LstmWeights(
            _empty(gates, cell.input_size), _empty(gates, cell.hidden_size), _empty(gates),
            _empty(cell.hidden_size, cell.cell_size),
        )  # fmt: skip

    new = ElmoLstm(
        part.input_size,
        part.hidden_size,
        part.cell_size,
        part.num_layers,
        False,
        *settings_of_cells.pop(),
        state="carry" if part.stateful else "reset",
        weights=[(blank(forward), blank(backward)) for forward, backward in cells],
        precision=settings.precision,
        checkpointing=settings.checkpointing,
    )
    new.requires_grad = part.requires_grad
    for pair, cell_pair in zip(names, cells, strict=True):
        for name, cell in zip(pair, cell_pair, strict=True):
            for leaf in ("input_linearity", "state_linearity", "state_projection"):
                setattr(getattr(new, name), leaf, getattr(cell, leaf))
    if part._states is not None:
        new._states = tuple(state.detach().clone() for state in part._states)  # AllenNLP writes into its own
    if settings.state is not None:
        new.state = settings.state
    return new


def _bilm(part: Any, children: Children, settings: Settings) -> nn.Module:
    encoder, lstm = children["_token_embedder"], children["_elmo_lstm"]
    for name, child, kind in (("_token_embedder", encoder, ElmoCharacterEncoder), ("_elmo_lstm", lstm, ElmoLstm)):
        if not isinstance(child, kind):
            raise CannotReplace(f"its {name} is not replaced")
    new = _blank(ElmoBiLm)
    new._cuda_graphs = settings.cuda_graphs
    new._graphs = GraphCache()
    new._precision = settings.precision
    new._token_embedder = encoder
    new._requires_grad = part._requires_grad
    new._word_embedding = None if part._word_embedding is None else _word_embedding(part._word_embedding)
    for name in ("_bos_embedding", "_eos_embedding"):
        marker = getattr(part, name)
        setattr(new, name, None if marker is None else marker.detach().clone())
    new._elmo_lstm = lstm
    new.num_layers = part.num_layers
    return new


def _word_embedding(theirs: Any) -> nn.Module:
    check_inner(theirs, "_word_embedding", _EMBEDDING)
    if theirs._projection is not None or theirs.max_norm is not None or theirs.scale_grad_by_freq or theirs.sparse:
        raise CannotReplace("its _word_embedding does more than look words up")
    weight = theirs.weight
    new = nn.Embedding(weight.shape[0], weight.shape[1], padding_idx=theirs.padding_index, _weight=weight.detach())
    new.weight = weight
    return new


def _elmo(part: Any, children: Children, settings: Settings) -> nn.Module:
    new = Elmo(
        None,
        None,
        len(part._scalar_mixes),
        vocab_to_cache=[] if part._has_cached_vocab else None,
        keep_sentence_boundaries=part._keep_sentence_boundaries,
        module=children["_elmo_lstm"],
    )
    new._dropout = children["_dropout"]
    for k in range(len(part._scalar_mixes)):
        mix = _scalar_mix(children[f"scalar_mix_{k}"])
        setattr(new, f"scalar_mix_{k}", mix)
        new._scalar_mixes[k] = mix
    return new


def _scalar_mix(theirs: Any) -> nn.Module:
    try:
        check_inner(theirs, "mix", _MIX)
        check_untouched(theirs.scalar_parameters)
    except CannotReplace:
        return theirs  # it stays and is called
    new = ScalarMix(theirs.mixture_size, theirs.do_layer_norm)
    new.scalar_parameters = theirs.scalar_parameters
    new.gamma = theirs.gamma
    return new


def _token_embedder(part: Any, children: Children, settings: Settings) -> nn.Module:
    from elmo_fast import allennlp

    elmo = children["_elmo"]
    if not isinstance(elmo, Elmo):
        raise CannotReplace("its _elmo is not replaced")
    new = _blank(allennlp.ElmoTokenEmbedder)  # still one of AllenNLP's TokenEmbedders
    new._elmo = elmo
    new._projection = children.get("_projection")
    new.output_dim = part.output_dim
    return new


KINDS: dict[tuple[str, str], Callable[[Any, Children, Settings], nn.Module]] = {
    ("allennlp.modules.elmo", "Elmo"): _elmo,
    ("allennlp.modules.elmo", "_ElmoBiLm"): _bilm,
    ("allennlp.modules.elmo", "_ElmoCharacterEncoder"): _character_encoder,
    ("allennlp.modules.elmo_lstm", "ElmoLstm"): _lstm,
    ("allennlp.modules.token_embedders.elmo_token_embedder", "ElmoTokenEmbedder"): _token_embedder,
}
"""The function that makes each part, by the module and name of AllenNLP's class."""
