"""Model files: what is read from them, and what is refused."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from elmo_fast import ElmoBiLm, ElmoLstm, load
from elmo_fast.weights import (
    WeightsError,
    read_encoder_weights,
    read_lstm_weights,
    read_options,
    read_weights,
)

CELL = "RNN_1/RNN/MultiRNNCell/Cell1/LSTMCell"


@pytest.fixture
def model(tmp_path: Path, random_model) -> tuple[Path, Path]:  # type: ignore[no-untyped-def]
    """A private copy of a random model, for damaging."""
    return tuple(Path(shutil.copy(path, tmp_path)) for path in random_model())


def edit_options(path: Path, edit: Callable[[dict], object]) -> None:
    options = json.loads(path.read_text())
    edit(options)
    path.write_text(json.dumps(options))


def read_both(model: tuple[Path, Path]):  # type: ignore[no-untyped-def]
    options = read_options(model[0])
    return options, read_weights(model[1], options)


def test_options_are_read(model: tuple[Path, Path]) -> None:
    options = read_options(model[0])
    assert options.activation == "relu"
    assert options.filters == ((1, 4), (2, 5), (3, 6))
    assert options.n_filters == 15
    assert (options.cell_size, options.projection_dim, options.n_layers) == (12, 6, 2)
    assert (options.cell_clip, options.proj_clip, options.use_skip_connections) == (3.0, 3.0, True)
    assert (options.char_embedding_dim, options.n_highway, options.max_characters) == (4, 1, 50)
    assert options.raw == json.loads(model[0].read_text())


def test_optional_options(model: tuple[Path, Path]) -> None:
    def edit(options: dict) -> None:
        options["lstm"].update(cell_clip=None, proj_clip=0, use_skip_connections=False)
        options["char_cnn"]["n_characters"] = 261

    edit_options(model[0], edit)
    options = read_options(model[0])
    assert (options.cell_clip, options.proj_clip, options.use_skip_connections) == (0.0, 0.0, False)
    edit_options(model[0], lambda o: (o["lstm"].pop("cell_clip"), o["char_cnn"].pop("n_highway")))
    options = read_options(model[0])
    assert (options.cell_clip, options.n_highway) == (0.0, 0)


def set_at(section: str, name: str, value: object) -> Callable[[dict], object]:
    return lambda options: options[section].__setitem__(name, value)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda o: o.pop("lstm"), "lstm: missing, expected a JSON object"),
        (lambda o: o.__setitem__("char_cnn", 3), "char_cnn: expected a JSON object, got 3"),
        (lambda o: o["char_cnn"].pop("embedding"), "char_cnn.embedding: missing"),
        (set_at("char_cnn", "embedding", {}), "char_cnn.embedding.dim: expected an integer of 1 or more, missing"),
        (lambda o: o["lstm"].pop("dim"), "lstm.dim: expected an integer of 1 or more, missing"),
        (set_at("lstm", "dim", 12.0), "lstm.dim: expected an integer of 1 or more, got 12.0"),
        (set_at("lstm", "dim", True), "lstm.dim: expected an integer of 1 or more, got True"),
        (set_at("lstm", "projection_dim", "6"), "lstm.projection_dim: expected an integer of 1 or more, got '6'"),
        (set_at("lstm", "n_layers", 0), "lstm.n_layers: expected an integer of 1 or more, got 0"),
        (set_at("lstm", "cell_clip", -1), "lstm.cell_clip: expected null or a finite number of 0 or more, got -1"),
        (set_at("lstm", "cell_clip", "3"), "lstm.cell_clip: expected null"),
        (set_at("lstm", "proj_clip", float("nan")), "lstm.proj_clip: expected null"),
        (set_at("lstm", "proj_clip", float("inf")), "lstm.proj_clip: expected null"),
        (set_at("lstm", "proj_clip", 10**400), "lstm.proj_clip: expected null"),
        (set_at("lstm", "use_skip_connections", 1), "lstm.use_skip_connections: expected true or false, got 1"),
        (set_at("char_cnn", "activation", "gelu"), "char_cnn.activation: expected 'relu' or 'tanh', got 'gelu'"),
        (lambda o: o["char_cnn"].pop("activation"), "char_cnn.activation: expected 'relu' or 'tanh', missing"),
        (set_at("char_cnn", "filters", []), "char_cnn.filters: expected a non-empty list"),
        (set_at("char_cnn", "filters", [[1, 4], [2]]), "char_cnn.filters: expected a non-empty list"),
        (set_at("char_cnn", "filters", [[0, 4]]), "char_cnn.filters: expected a non-empty list"),
        (set_at("char_cnn", "filters", [[51, 4]]), "char_cnn.filters[0]: expected a width of at most"),
        (set_at("char_cnn", "n_highway", -1), "char_cnn.n_highway: expected an integer of 0 or more, got -1"),
        (set_at("char_cnn", "n_characters", 300), "char_cnn.n_characters: expected 261 or 262, got 300"),
        (set_at("char_cnn", "max_characters_per_token", 2), "max_characters_per_token: expected an integer of 3"),
        (lambda o: o["char_cnn"].pop("max_characters_per_token"), "max_characters_per_token: expected an integer"),
    ],
)
def test_wrong_options_are_named(model: tuple[Path, Path], edit: Callable, message: str) -> None:
    edit_options(model[0], edit)
    with pytest.raises(WeightsError) as error:
        read_options(model[0])
    assert str(error.value).startswith(f"{model[0]}: ")
    assert message in str(error.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"\x89HDF\r\n\x1a\n"])
def test_not_json(model: tuple[Path, Path], content: bytes) -> None:
    model[0].write_bytes(content)
    with pytest.raises(WeightsError, match="not a readable JSON options file"):
        read_options(model[0])


def test_json_but_no_object(model: tuple[Path, Path]) -> None:
    model[0].write_text("[1]")
    with pytest.raises(WeightsError, match="expected a JSON object, got list"):
        read_options(model[0])


def test_missing_files_are_named(model: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere.json: no such options file"):
        read_options(tmp_path / "nowhere.json")
    with pytest.raises(FileNotFoundError, match="nowhere.hdf5: no such weight file"):
        read_weights(tmp_path / "nowhere.hdf5", read_options(model[0]))


def test_layout_of_what_is_read(model: tuple[Path, Path]) -> None:
    options, weights = read_both(model)
    with h5py.File(model[1]) as file:
        assert weights.char_embedding.shape == (262, 4)
        assert not weights.char_embedding[0].any()
        assert np.array_equal(weights.char_embedding[1:], file["char_embed"][...])
        weight, bias = weights.convolutions[1]
        assert weight[3, 2, 1] == file["CNN/W_cnn_1"][0, 1, 2, 3]
        assert np.array_equal(bias, file["CNN/b_cnn_1"][...])
        weight, bias = weights.highways[0]
        assert weight[2, 9] == file["CNN_high_0/W_transform"][9, 2]
        assert weight[15 + 2, 9] == -file["CNN_high_0/W_carry"][9, 2]
        assert bias[15 + 2] == -file["CNN_high_0/b_carry"][2]
        assert np.array_equal(weights.projection[0], file["CNN_proj/W_proj"][...].T)
        lstm, cell = weights.layers[1][1], file[CELL]
        for gate, tensorflow_gate in enumerate([0, 2, 1, 3]):  # i, f, g, o from i, g, f, o
            row, column = gate * 12 + 5, tensorflow_gate * 12 + 5
            assert np.array_equal(lstm.input_weight[row], cell["W_0"][:6, column])
            assert np.array_equal(lstm.state_weight[row], cell["W_0"][6:, column])
            assert lstm.bias[row] == cell["B"][column] + np.float32(1.0 if gate == 1 else 0.0)
        assert np.array_equal(lstm.projection, cell["W_P_0"][...].T)
    arrays = [weights.char_embedding, *(a for pair in weights.convolutions for a in pair), *weights.projection]
    arrays += [a for pair in (*weights.highways,) for a in pair]
    arrays += [a for pair in weights.layers for lstm in pair for a in lstm.as_tuple()]
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in arrays)


def test_parts_are_read_apart(model: tuple[Path, Path]) -> None:
    options, weights = read_both(model)
    encoder = read_encoder_weights(model[1], options)
    assert np.array_equal(encoder.char_embedding, weights.char_embedding)
    layers = read_lstm_weights(model[1], input_size=6, projection_dim=6, cell_size=12, n_layers=1)
    assert len(layers) == 1
    assert np.array_equal(layers[0][1].projection, weights.layers[0][1].projection)


def test_no_projection_where_it_would_be_square(random_model) -> None:  # type: ignore[no-untyped-def]
    options, weights = read_both(random_model(projection_dim=15))
    assert weights.projection is None


def replace(name: str, value: object) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        if name in file:
            del file[name]
        if value is not None:
            file[name] = value

    return edit


def poke(name: str, value: float) -> Callable[[h5py.File], None]:
    def edit(file: h5py.File) -> None:
        array = file[name][...]
        array[(1,) * array.ndim] = value
        file[name][...] = array

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (replace("char_embed", None), "char_embed: missing, expected a float32 dataset of shape (261, 4)"),
        (replace("char_embed", np.zeros((262, 4), "f4")), "char_embed: expected shape (261, 4), got (262, 4)"),
        (replace("char_embed", np.zeros((261, 4), "i4")), "char_embed: expected float32 of shape (261, 4), got int32"),
        (replace("CNN", None), "CNN/W_cnn_0: missing"),
        (replace("CNN/W_cnn_1", np.zeros((1, 2, 4, 6), "f4")), "CNN/W_cnn_1: expected shape (1, 2, 4, 5), got"),
        (replace("CNN/b_cnn_2", np.zeros(5, "f4")), "CNN/b_cnn_2: expected shape (6,), got (5,)"),
        (replace("CNN/b_cnn_2/x", np.zeros(5, "f4")), None),
        (replace("CNN_high_0/W_carry", None), "CNN_high_0/W_carry: missing"),
        (replace("CNN_high_1/W_carry", np.zeros(1)), "CNN_high_1: present, but the options say n_highway = 1"),
        (replace("CNN_proj", None), "CNN_proj/W_proj: missing, expected a float32 dataset of shape (15, 6)"),
        (replace("CNN_proj/b_proj", np.float32(1)), "CNN_proj/b_proj: expected shape (6,), got ()"),
        (replace("RNN_1", None), "RNN_1/RNN/MultiRNNCell/Cell0/LSTMCell/W_0: missing"),
        (replace(f"{CELL}/W_0", np.zeros((12, 44), "f4")), f"{CELL}/W_0: expected shape (12, 48), got (12, 44)"),
        (replace(f"{CELL}/B", "text"), f"{CELL}/B: expected shape (48,), got ()"),
        (poke(f"{CELL}/W_P_0", np.nan), f"{CELL}/W_P_0: 1 of 72 values are NaN or infinite"),
        (poke("char_embed", np.inf), "char_embed: 1 of 1044 values are NaN or infinite (or beyond float32), the first"),
        (poke("CNN_proj/b_proj", -np.inf), "CNN_proj/b_proj: 1 of 6 values are NaN or infinite"),
        (replace("CNN_proj/b_proj", np.full(6, 1e300)), "CNN_proj/b_proj: 6 of 6 values are NaN or infinite"),
    ],
)
def test_wrong_weights_are_named(model: tuple[Path, Path], edit: Callable, message: str | None) -> None:
    with h5py.File(model[1], "r+") as file:
        if message is None:
            del file["CNN/b_cnn_2"]
            message = "CNN/b_cnn_2: expected a float32 dataset of shape (6,), got a group"
        edit(file)
    with pytest.raises(WeightsError) as error:
        ElmoBiLm(*model)
    assert str(error.value).startswith(f"{model[1]}: ")
    assert message in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_not_hdf5(model: tuple[Path, Path], content: bytes) -> None:
    model[1].write_bytes(content)
    with pytest.raises(WeightsError, match="not a readable HDF5 file, or cut short"):
        read_both(model)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_cut_short(model: tuple[Path, Path], part: float) -> None:
    content = model[1].read_bytes()
    model[1].write_bytes(content[: int(len(content) * part)])
    with pytest.raises(WeightsError, match=r"weights\.hdf5"):
        read_both(model)


def test_damaged_compressed_data(model: tuple[Path, Path]) -> None:
    with h5py.File(model[1], "r+") as file:
        values = file["char_embed"][...]
        del file["char_embed"]
        dataset = file.create_dataset("char_embed", data=values, compression="gzip", chunks=values.shape)
        offset, size = dataset.id.get_chunk_info(0).byte_offset, dataset.id.get_chunk_info(0).size
    with open(model[1], "r+b") as raw:
        raw.seek(offset)
        raw.write(b"\xff" * size)
    with pytest.raises(WeightsError, match="char_embed: cannot be read, the file is damaged"):
        read_both(model)


@pytest.mark.parametrize("dtype", ["f2", "f8", ">f4"])
def test_other_float_types_are_converted(model: tuple[Path, Path], dtype: str) -> None:
    with h5py.File(model[1], "r+") as file:
        values = file["char_embed"][...].astype(dtype)
        replace("char_embed", values)(file)
    _, weights = read_both(model)
    assert weights.char_embedding.dtype == np.float32
    assert np.array_equal(weights.char_embedding[1:], values.astype(np.float32))


def plain_reading(path: Path, n_layers: int) -> list[np.ndarray]:
    """Highways, projection and LSTM weights as `read_weights` gives them, written down once more without blocks."""
    with h5py.File(path) as file:
        values = {}
        file.visititems(lambda name, item: values.update({name: np.asarray(item)}) if hasattr(item, "dtype") else None)
    arrays = [np.concatenate([values["CNN_high_0/W_transform"].T, -values["CNN_high_0/W_carry"].T])]
    arrays.append(values["CNN_proj/W_proj"].T)
    for layer in range(n_layers):
        for direction in (0, 1):
            cell = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            i, g, f, o = np.split(values[f"{cell}/W_0"].T, 4)
            weight = np.concatenate([i, f, g, o]).astype(np.float32)
            arrays += np.split(weight, 2, axis=1)
            arrays.append(values[f"{cell}/W_P_0"].T)
    return [array.astype(np.float32) for array in arrays]


def stored(array: np.ndarray, how: str) -> dict[str, object]:
    """Arguments of `create_dataset`."""
    if how == "compressed":
        return {"data": array, "compression": "gzip", "chunks": (min(50, len(array)), array.shape[1])}
    return {"data": array.astype(how)}


@pytest.mark.parametrize("how", ["<f4", ">f4", "<f8", "<f2", "compressed"])
def test_matrices_of_many_rows(tmp_path: Path, random_model, how: str) -> None:  # type: ignore[no-untyped-def]
    # Sizes that are no multiples of the rows read at a time.
    sizes = {"filters": ((1, 70), (2, 61)), "projection_dim": 67, "cell_size": 129, "char_embedding_dim": 3}
    options_path, source = random_model(**sizes)
    path = Path(shutil.copy(source, tmp_path))
    with h5py.File(path, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if getattr(item, "ndim", 0) == 2 else None)
        for name in names:
            values = file[name][...]
            del file[name]
            file.create_dataset(name, **stored(values, how))
    weights = read_weights(path, read_options(options_path))
    actual = [weights.highways[0][0], weights.projection[0]]
    for pair in weights.layers:
        for lstm in pair:
            actual += [lstm.input_weight, lstm.state_weight, lstm.projection]
    for array, expected in zip(actual, plain_reading(path, 2), strict=True):
        assert array.dtype == np.float32 and array.flags.c_contiguous and array.flags.writeable
        assert np.array_equal(array, expected)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("make", [lambda *files: load(files), ElmoBiLm], ids=["load", "ElmoBiLm"])
def test_everything_is_checked_before_anything_is_read(
    model: tuple[Path, Path], make: Callable, threads: int, num_threads: Callable[[int], None]
) -> None:
    num_threads(threads)
    with h5py.File(model[1], "r+") as file:
        poke("char_embed", np.nan)(file)
        poke(f"{CELL}/W_0", np.nan)(file)
        del file[f"{CELL}/W_P_0"]
    with pytest.raises(WeightsError, match="Cell1/LSTMCell/W_P_0: missing"):
        make(*model)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("char_embed", "char_embed: 1 of 1044 values are NaN or infinite"),
        ("CNN_high_0/W_carry", "CNN_high_0/W_carry: 1 of 225 values are NaN or infinite"),
        (f"{CELL}/W_0", "W_0: 1 of 576 values are NaN or infinite (or beyond float32), the first at (1, 1)"),
        (f"{CELL}/W_P_0", "W_P_0: 1 of 72 values are NaN or infinite"),
    ],
)
def test_load_names_the_dataset_that_is_wrong(
    model: tuple[Path, Path], name: str, message: str, threads: int, num_threads: Callable[[int], None]
) -> None:
    num_threads(threads)
    with h5py.File(model[1], "r+") as file:
        poke(name, np.nan)(file)
    before = threading.active_count()
    with pytest.raises(WeightsError) as error:
        load(model)
    assert message in str(error.value)
    assert threading.active_count() == before, "a thread of the failed load is left"


def test_load_weights_checks_sizes(model: tuple[Path, Path]) -> None:
    with pytest.raises(WeightsError, match=r"W_0: expected shape \(10, 48\), got \(12, 48\)"):
        ElmoLstm(5, 5, 12, 1).load_weights(model[1])
