"""Chooses the backend that runs each call. No other module makes this decision.

| backend | what runs | when |
|---|---|---|
| "cpu" | the native kernels (`elmo_fast.cpu`) | float32 on the CPU, not recorded |
| "operator" | the same kernels as torch operators (`elmo_fast.cpu.ops`) | float32 on the CPU, recorded |
| "cuda" | the native CUDA kernels (`elmo_fast.cuda`) | float32, float16 or bfloat16 on CUDA, not recorded |
| "reference" | plain PyTorch (`elmo_fast.reference`), one part at a time | everything else; the choice says why |

A call is recorded if autograd needs its gradient, or if `torch.compile` or `torch.export` traces it.

Autocast does not affect the choice: native kernels always compute in the precision that the model was created with.

A backend is an object with the methods of `Backend`. To add one, write a module like `elmo_fast.cuda.backend`, and add
an entry to `BACKENDS` and a condition to `choose`.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad

from elmo_fast.cpu.backend import CpuBackend
from elmo_fast.cpu.operator_backend import OperatorBackend
from elmo_fast.cuda import device as cuda
from elmo_fast.cuda.backend import CudaBackend
from elmo_fast.reference_backend import ReferenceBackend
from elmo_fast.state import StateSlot


class Backend(Protocol):
    """Runs the parts of a model. The modules hold the parameters and the state, and have already checked the inputs.

    A `StateSlot` passes the LSTM state into and out of a call, which starts from `slot.initial` and sets `slot.final`;
    see `elmo_fast.state`.
    """

    def encode(self, encoder: Any, char_ids: Tensor) -> Tensor:
        """Encodes int64 character ids: (n, max_characters) -> (n, projection_dim)."""

    def lstm(self, lstm: Any, inputs: Tensor, lengths: Tensor, slot: StateSlot) -> Tensor:
        """Runs all layers. Same as `ElmoLstm.forward`, except that `lengths` (batch_size,) replaces the mask."""

    def bilm(
        self, bilm: Any, inputs: Tensor, word_inputs: Tensor | None, slot: StateSlot
    ) -> tuple[list[Tensor], Tensor]:
        """Returns the activations and the mask of `ElmoBiLm.forward`."""

    def mix(self, mix: Any, layers: Sequence[Tensor], mask: Tensor, tokens: Tensor) -> Tensor:
        """Returns the mix of all layers without the sentence markers, zero where `tokens`, its mask, is false."""


BACKENDS: dict[str, Backend] = {
    "cpu": CpuBackend(),
    "operator": OperatorBackend(),
    "cuda": CudaBackend(),
    "reference": ReferenceBackend(),
}


class Choice(NamedTuple):
    """The name of a backend in `BACKENDS` and, for "reference", the reason why no other backend was chosen."""

    name: str
    reason: str = ""


_CPU, _OPERATOR, _CUDA = Choice("cpu"), Choice("operator"), Choice("cuda")
_NOT_PLAIN = Choice("reference", "a part has hooks or is of another class, so the parts are called one by one")
_TRANSFORMED = Choice("reference", "torch.func and forward-mode AD follow PyTorch's own operations alone")
_DROPOUT = Choice("reference", "recurrent dropout in training")
_SEVERAL_DTYPES = Choice("reference", "the parameters have several dtypes")

_only: str | None = None
_warned_dtypes: set[torch.dtype] = set()


def choose(
    parameters: Sequence[Tensor], inputs: Sequence[Tensor] = (), *, plain: bool = True, recurrent_dropout: bool = False
) -> Choice:
    """Chooses the backend for a call.

    Args:
        parameters: the parameters of the part that is called, at least one.
        inputs: the floating-point inputs of that part.
        plain: whether every module whose `forward` a native backend would bypass is unmodified: no hooks, no subclass.
        recurrent_dropout: whether the call applies recurrent dropout.
    Returns:
        The name of the backend and, for "reference", the reason.
    Raises:
        ValueError: the parameters are on several CUDA devices.
    """
    if _only is not None:
        return Choice(_only, "nothing else is wanted here")
    if not plain:
        return _NOT_PLAIN
    if is_transformed():
        return _TRANSFORMED
    if recurrent_dropout:
        return _DROPOUT
    recorded = torch.compiler.is_compiling() or records_gradient(chain(parameters, inputs))
    if not recorded and cuda.may_run(parameters[0].device) and cuda.storage_for(parameters, "float32") is not None:
        return _CUDA
    for tensor in chain(parameters, inputs):
        if tensor.dtype != torch.float32 or not tensor.is_cpu:
            return _not_native(tensor, parameters, recorded)
    return _OPERATOR if recorded else _CPU


def backend_for(
    parameters: Sequence[Tensor], inputs: Sequence[Tensor] = (), *, plain: bool = True, recurrent_dropout: bool = False
) -> Backend:
    """Returns the backend that `choose` selects. Warns, once per dtype, if a CPU model or input is not float32."""
    choice = choose(parameters, inputs, plain=plain, recurrent_dropout=recurrent_dropout)
    if choice.name == "reference" and choice not in (_NOT_PLAIN, _TRANSFORMED, _DROPOUT):
        _warn_dtype(chain(parameters, inputs))
    return BACKENDS[choice.name]


def is_transformed() -> bool:
    """Returns whether `torch.func` or forward-mode AD is active. These support only torch's own operations."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0


def records_gradient(tensors: Iterable[Tensor]) -> bool:
    """Returns whether autograd would record an operation on these tensors."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def is_native_kind(tensor: Tensor) -> bool:
    """Returns whether the native CPU kernels can read this tensor, which must be float32 and on the CPU."""
    return tensor.dtype == torch.float32 and tensor.is_cpu


@contextlib.contextmanager
def only(name: str) -> Iterator[None]:
    """Makes one backend run every call, in all threads, inside a `with` block; for benchmarks.

    Does not check whether the backend can run the calls.
    """
    global _only
    before, _only = _only, name
    try:
        yield
    finally:
        _only = before


def _not_native(tensor: Tensor, parameters: Sequence[Tensor], recorded: bool) -> Choice:
    device = parameters[0].device
    if device.type == "cpu":
        return Choice(
            "reference", f"the native CPU kernels read float32 on the CPU, not {tensor.dtype} on {tensor.device}"
        )
    if device.type != "cuda":
        return Choice("reference", f"there are no native kernels for {device}")
    if recorded:
        return Choice("reference", "the CUDA kernels have no backward pass and are not traced")
    if cuda.cuda_device(device) is None:
        return Choice("reference", f"no native CUDA kernels were built for {device}")
    if any(parameter.dtype != parameters[0].dtype for parameter in parameters):
        return _SEVERAL_DTYPES
    return Choice("reference", f"the CUDA kernels read float32, float16 and bfloat16, not {parameters[0].dtype}")


def _warn_dtype(tensors: Iterable[Tensor]) -> None:
    other = None
    for tensor in tensors:
        if not tensor.is_cpu:
            return
        if tensor.dtype != torch.float32:
            other = tensor.dtype if other is None else other
    if other is not None and other not in _warned_dtypes:
        _warned_dtypes.add(other)
        message = (
            f"the native kernels are float32; this model or input of {other} runs on the slower PyTorch reference "
            '(for speed keep float32 and ask for reduced arithmetic with precision=, such as precision="bfloat16")'
        )
        warnings.warn(f"elmo_fast: {message}", stacklevel=2)
