# The compiled module of csrc/cuda/bind_cuda.cc. Addresses are integers, as tensors' data_ptr() gives them; 0 is none.
from collections.abc import Sequence
from typing import ClassVar

OLDEST_CAPABILITY: int
PERSISTENT_ROWS: int

class CudaError(RuntimeError): ...

class Storage:
    float32: ClassVar[Storage]
    float16: ClassVar[Storage]
    bfloat16: ClassVar[Storage]
    def __init__(self, value: int) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...

class DeviceProperties:
    def __init__(
        self, name: str, capability: int, multiprocessors: int, shared_bytes: int, cooperative: bool
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def capability(self) -> int: ...
    @property
    def multiprocessors(self) -> int: ...
    @property
    def shared_bytes(self) -> int: ...
    @property
    def cooperative(self) -> bool: ...

class PersistentPlan:
    @property
    def blocks(self) -> int: ...
    @property
    def groups(self) -> int: ...
    @property
    def tiles(self) -> int: ...
    @property
    def shared_bytes(self) -> int: ...

class CharCnnParams:
    is_tanh: bool
    char_ids: int
    tables: int
    bias: int
    out: int
    n: int
    max_characters: int
    n_ids: int
    def __init__(self) -> None: ...

class ScalarMixParams:
    weights: int
    mask: int
    out: int
    batch_size: int
    num_timesteps: int
    dim: int
    def __init__(self) -> None: ...

class LstmLayerParams:
    cell_clip: float
    proj_clip: float
    first_token: int
    state_weights: tuple[int, int]
    projection_weights: tuple[int, int]
    xw: tuple[int, int]
    slots: tuple[int, int]
    fragments: tuple[int, int]
    stored_h: int
    partials: int
    n_steps: int
    below: tuple[int, int]
    above: tuple[int, int]
    out: int
    lengths: int
    rows: int
    h: int
    c: int
    m: int
    n_rows: int
    num_timesteps: int
    projection_dim: int
    cell_size: int
    def __init__(self) -> None: ...

def device_count() -> int: ...
def device_properties(device: int) -> DeviceProperties: ...
def check_device(device: int) -> None: ...
def plan_persistent(
    device: DeviceProperties, projection_dim: int, cell_size: int, weight_bytes: int, n_rows: int
) -> PersistentPlan: ...
def prepare_persistent(device: int, storage: Storage, plan: PersistentPlan) -> None: ...
def char_cnn(
    device: int, storage: Storage, params: CharCnnParams, widths: Sequence[int], n_filters: Sequence[int], stream: int
) -> None: ...
def highway(device: int, storage: Storage, gates: int, x: int, out: int, n: int, size: int, stream: int) -> None: ...
def scalar_mix(device: int, storage: Storage, params: ScalarMixParams, layers: Sequence[int], stream: int) -> None: ...
def lstm_steps(
    device: int,
    storage: Storage,
    layer: LstmLayerParams,
    first_of_step: Sequence[int],
    first_step: int,
    last_step: int,
    stream: int,
) -> None: ...
def lstm_product_cells(
    device: int,
    storage: Storage,
    layer: LstmLayerParams,
    values: int,
    m: int,
    in_float: bool,
    step: int,
    n_active: int,
    first_token: int,
    stream: int,
) -> None: ...
def lstm_product_outputs(
    device: int,
    storage: Storage,
    layer: LstmLayerParams,
    values: int,
    m: int,
    in_float: bool,
    step: int,
    n_active: int,
    first_token: int,
    stream: int,
) -> None: ...
def lstm_persistent(
    device: int,
    storage: Storage,
    layer: LstmLayerParams,
    plan: PersistentPlan,
    first_of_step: int,
    first_step: int,
    last_step: int,
    stream: int,
) -> None: ...
