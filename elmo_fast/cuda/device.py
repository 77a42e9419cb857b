"""Imports the compiled module `_cuda`, and finds the kernels and properties of a device."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

try:
    from elmo_fast import _cuda as _kernels
except ImportError as error:
    _kernels = None
    _why_not = str(error)
else:
    _why_not = ""

_lock = threading.Lock()
_devices: dict[torch.device, CudaDevice | None] = {}

_STORAGES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


def is_built() -> bool:
    """Returns whether the native CUDA kernels were built and can be loaded."""
    return _kernels is not None


def cuda_device(device: torch.device) -> CudaDevice | None:
    """Returns the kernels for a device, or None if there are none, as on the CPU or without the module `_cuda`.

    Warns once about each CUDA device without kernels.

    Raises:
        RuntimeError: CUDA rejects the device (with CUDA's own message), or the device is too old.
    """
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    if device in _devices or device.type != "cuda":
        return _devices.get(device)
    with _lock:
        if device not in _devices:
            if _kernels is None:
                message = f"no native CUDA kernels ({_why_not}); {device} runs on the slower PyTorch reference"
                warnings.warn(f"elmo_fast: {message}", stacklevel=2)
            _devices[device] = None if _kernels is None else CudaDevice(_kernels, device)
    return _devices[device]


class CudaDevice:
    """The kernels of one device.

    Args:
        kernels: the module `_cuda`, or its emulation in the tests.
        device: the device on which all tensors are.
    Attributes:
        kernels, device: the arguments.
        number: CUDA's number for the device.
        properties: name, capability, multiprocessors, shared_bytes and cooperative.
    Raises:
        RuntimeError: CUDA rejects the device, or the device is too old.
    """

    def __init__(self, kernels: Any, device: torch.device) -> None:
        self.kernels = kernels
        self.device = device
        self.number = device.index or 0
        # Under torch's guard, so that the kernels' runtime need not change the device itself: changing it back would
        # make a context on the first GPU.
        with self.guard():
            kernels.check_device(self.number)
            self.properties = kernels.device_properties(self.number)
        oldest, got = kernels.OLDEST_CAPABILITY / 10, self.properties.capability / 10
        if got < oldest:
            name = f"{device} ({self.properties.name})"
            raise RuntimeError(f"{name}: expected compute capability {oldest} or newer, got {got}")
        version = tuple(int(part) for part in torch.__version__.split(".")[:2])
        self._unrounded = device.type == "cuda" and version >= (2, 8)
        self._fits: dict[tuple[Any, ...], bool] = {}

    def stream(self) -> int:
        """Returns torch's current stream on the device, which may differ from call to call."""
        return torch.cuda.current_stream(self.device).cuda_stream if self.device.type == "cuda" else 0

    @contextlib.contextmanager
    def guard(self) -> Iterator[None]:
        """Makes this torch's current device, and disables autocast.

        Without autocast, torch's products stay in the storage dtype, the dtype of the memory that the kernels read.
        """
        device = torch.cuda.device(self.device) if self.device.type == "cuda" else contextlib.nullcontext()
        with device, torch.autocast(self.device.type, enabled=False):
            yield

    def finish(self) -> None:
        """Waits for the current stream, so that weights packed on it can then be used on any other stream."""
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()

    def storage(self, dtype: torch.dtype) -> Any:
        """Returns the kernels' name for a dtype."""
        return getattr(self.kernels.Storage, _STORAGES[dtype])

    def empty(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Returns an uninitialised tensor on the device, allocated by torch on the current stream."""
        return torch.empty(shape, dtype=dtype, device=self.device)

    def zeros(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Same as `empty`, but filled with zeros."""
        return torch.zeros(shape, dtype=dtype, device=self.device)

    def product(self, x: Tensor, weight: Tensor) -> Tensor:
        """Returns x times the transpose of a weight, for both directions: (2, n, k) by (2, m, k) is (2, n, m).

        Of 16-bit operands it is float32 where torch can return the sums unrounded, from 2.8 on.
        """
        unrounded = self._unrounded and x.dtype != torch.float32
        options: dict[str, Any] = {"out_dtype": torch.float32} if unrounded else {}
        return torch.bmm(x, weight.transpose(1, 2), **options)

    def address(self, name: str, tensor: Tensor, dtype: torch.dtype, *shape: int) -> int:
        """Returns the address of a tensor.

        Raises:
            ValueError: the device, dtype or shape is not as expected, or the tensor is not contiguous; the message
                names the tensor.
        """
        expected, got = (self.device, dtype, shape), (tensor.device, tensor.dtype, tuple(tensor.shape))
        if expected != got or not tensor.is_contiguous():
            layout = "" if tensor.is_contiguous() else ", not contiguous"
            raise ValueError(f"{name}: expected {_text(*expected)}, got {_text(*got)}{layout}")
        return tensor.data_ptr()

    def persistent_groups(self, dtype: torch.dtype, projection_dim: int, cell_size: int) -> int:
        """Returns how many groups of 8 cells a block of the persistent kernel holds; 0 if it cannot run."""
        plan = self.kernels.plan_persistent(self.properties, projection_dim, cell_size, dtype.itemsize, 1)
        return plan.groups if plan.blocks else 0

    def persistent_plan(self, dtype: torch.dtype, projection_dim: int, cell_size: int, n_rows: int) -> Any:
        """Returns a launchable plan for the persistent LSTM kernel, or None if it cannot run."""
        plan = self.kernels.plan_persistent(self.properties, projection_dim, cell_size, dtype.itemsize, n_rows)
        if plan.blocks == 0:
            return None
        key = (dtype, projection_dim, cell_size, plan.tiles)
        if key not in self._fits:
            try:
                self.kernels.prepare_persistent(self.number, self.storage(dtype), plan)
                self._fits[key] = True
            except RuntimeError as error:  # another process may leave too few multiprocessors
                warnings.warn(f"elmo_fast: {error}; the step kernels run instead", stacklevel=2)
                self._fits[key] = False
        return plan if self._fits[key] else None


def _text(device: torch.device, dtype: torch.dtype, shape: tuple[int, ...]) -> str:
    return f"a {dtype} tensor of shape {shape} on {device}"


class Storage(NamedTuple):
    """The device and dtype in which the kernels hold a set of parameters."""

    gpu: CudaDevice
    dtype: torch.dtype


def may_run(device: torch.device) -> bool:
    """Returns whether `cuda_device` could find kernels for a device. Cheap, because every call on the CPU uses it."""
    return device.type == "cuda" or device in _devices


def storage_for(parameters: Sequence[Tensor], precision: str) -> Storage | None:
    """Returns how the native CUDA kernels hold these parameters, or None if they cannot.

    Weights are stored in their own dtype (float32, float16 or bfloat16), but precision "bfloat16" stores float32
    weights as bfloat16. The other precisions exist only on the CPU, and run as float32 here. The caller checks whether
    a gradient is needed.

    Raises:
        ValueError: the parameters are on several devices.
    """
    device, dtype = parameters[0].device, parameters[0].dtype
    gpu = cuda_device(device) if may_run(device) else None
    if gpu is None or dtype not in _STORAGES or any(parameter.dtype != dtype for parameter in parameters):
        return None
    for parameter in parameters:
        if parameter.device != device:
            raise ValueError(f"parameters: expected all on {device}, got one on {parameter.device}")
    return Storage(gpu, torch.bfloat16 if precision == "bfloat16" and dtype == torch.float32 else dtype)
