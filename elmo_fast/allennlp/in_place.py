"""`accelerate` replaces AllenNLP's ELMo inside an existing model."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from elmo_fast.allennlp.convert import CannotReplace, Settings, allennlps_class, convert
from elmo_fast.bilm import ElmoBiLm
from elmo_fast.elmo import Elmo, ElmoTokenEmbedder
from elmo_fast.encoder import ElmoCharacterEncoder
from elmo_fast.lstm import ElmoLstm
from elmo_fast.precision import check_precision
from elmo_fast.state import check_mode
from elmo_fast.word_cache import DEFAULT_WORD_CACHE_SIZE, check_word_cache_size

_OURS = (Elmo, ElmoBiLm, ElmoCharacterEncoder, ElmoLstm, ElmoTokenEmbedder)


def accelerate(
    module: nn.Module,
    *,
    precision: str = "float32",
    state: str | None = None,
    word_cache_size: int = DEFAULT_WORD_CACHE_SIZE,
    cuda_graphs: bool = False,
    checkpointing: bool = False,
) -> nn.Module:
    """Replaces AllenNLP's ELMo by this package's, everywhere in a model, and returns the model.

    `Elmo`, `_ElmoBiLm`, `_ElmoCharacterEncoder`, `ElmoLstm` and `ElmoTokenEmbedder` of AllenNLP become this package's
    classes of these names, **around the same parameter objects**: an existing optimizer continues to train them, and
    state_dict keys, their order and `requires_grad` do not change. Training mode, dropout, mixes, clipping, cached
    words and the carried LSTM state are kept too. A part that is registered in several places is replaced by one
    object; attributes, lists, tuples and dictionaries of the model's modules that hold a replaced part hold the new one
    afterwards. The old parts themselves are not changed, nor are parts of this package.

    A part that this package's class would not reproduce exactly is not replaced, and a `UserWarning` names it and the
    reason: a subclass with its own methods, hooks, compiled modules, quantised or otherwise exchanged layers. Whatever
    can be replaced inside and around it is replaced. A model without any ELMo in it gives a `UserWarning`, too.

    AllenNLP is not imported, unless the model contains its `ElmoTokenEmbedder`.

    Args:
        module: any torch module, or one of AllenNLP's ELMo parts itself.
        precision: arithmetic of the native kernels, see `elmo_fast.precision`.
        state: "carry", "reset" or "frozen" for all replaced LSTMs; None carries the state as AllenNLP did ("reset"
            where `stateful` was false).
        word_cache_size: at most this many words are remembered between calls, see `elmo_fast.word_cache`; 0 for none.
        cuda_graphs: on CUDA, replay each pass as one graph, see `ElmoBiLm`.
        checkpointing: with gradients of the weights, trade time for memory; see `ElmoLstm`.
    Returns:
        `module`, or its replacement if it is one of the parts itself.
    Raises:
        TypeError: `module` is not a torch module.
        ValueError: an unknown precision or state, or a wrong cache size.
        In every case, also if a warning is turned into an error, nothing has been replaced.
    """
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    settings = Settings(
        check_precision(precision),
        None if state is None else check_mode(state),
        check_word_cache_size(word_cache_size),
        cuda_graphs,
        checkpointing,
    )
    plan = _Plan(settings)
    result = plan.visit(module, "")
    kept = [one for one in module.modules() if id(one) not in plan.replaced]  # before anything changes
    if not plan.replaced and not plan.left and not any(isinstance(one, _OURS) for one in kept):
        plan.left.append(("", f"found no ELMo of AllenNLP in this {type(module).__name__}"))
    for path, reason in plan.left:  # now, because a warning may be an error
        where = f"{path}: left as it is, " if path else ""
        warnings.warn(f"accelerate: {where}{reason}", UserWarning, stacklevel=2)
    for one in (*kept, *plan.replaced.values()):  # new parts have the attributes that were added to the old ones
        plan.refer_to_new(one)
    return result


class _Plan:
    """Plans the replacements; changes nothing until `refer_to_new`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.left: list[tuple[str, str]] = []  # path, and why it stays
        self.replaced: dict[int, nn.Module] = {}  # by the old part's id: the model keeps the old parts alive
        self._visited: dict[int, nn.Module] = {}
        self._containers: set[int] = set()

    def visit(self, module: nn.Module, path: str) -> nn.Module:
        """Makes the replacements in a module, innermost first; returns its replacement, or the module itself."""
        if id(module) in self._visited:
            return self._visited[id(module)]
        self._visited[id(module)] = module
        if isinstance(module, torch.jit.ScriptModule):  # its submodules are not instances of Python classes
            return module
        children = {
            name: self.visit(child, f"{path}.{name}" if path else name)
            for name, child in module._modules.items()
            if child is not None
        }
        if allennlps_class(module) is None:
            return module
        try:
            new = convert(module, children, self.settings)
        except CannotReplace as reason:
            self.left.append((path or f"the {type(module).__name__} itself", str(reason)))
            return module
        self._visited[id(module)] = self.replaced[id(module)] = new
        return new

    def refer_to_new(self, module: nn.Module) -> None:
        """Makes a module that stays refer to the new parts instead of the old ones."""
        names = vars(module)  # `_modules` is one of them
        for name, value in list(names.items()):
            new = self._new(value)
            if new is not value:
                names[name] = new

    def _new(self, value: Any) -> Any:
        if isinstance(value, nn.Module):
            return self.replaced.get(id(value), value)
        if type(value) is tuple:
            parts = tuple(map(self._new, value))
            return parts if any(new is not old for new, old in zip(parts, value, strict=True)) else value
        if isinstance(value, (list, dict)) and id(value) not in self._containers:
            self._containers.add(id(value))  # it may hold itself
            for key, old in list(value.items() if isinstance(value, dict) else enumerate(value)):
                new = self._new(old)
                if new is not old:
                    value[key] = new
        return value
