"""`elmo_fast.allennlp.install()`: AllenNLP builds this package's ELMo."""

from __future__ import annotations

import contextlib
import copy
import importlib
import pickle
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from helpers.parts import lstm_of
from helpers.processes import ENVIRONMENT
from helpers.tagger import (
    batches,
    import_models,
    make_tagger,
    optimizer_of,
    own_allennlp,
    tagger_class,
    tagger_params,
    train,
    vocabulary,
)
from tolerances import GOLDEN_CASE, LOSS_CURVE, NATIVE

import elmo_fast
import elmo_fast.allennlp as patch
from elmo_fast import batch_to_ids, dispatch, models

BATCH = [["Hello", "world", "."], ["one", "two"]]
NAMES = {
    "allennlp.modules.elmo": ["Elmo", "_ElmoBiLm", "_ElmoCharacterEncoder", "ElmoLstm", "batch_to_ids"],
    "allennlp.modules.elmo_lstm": ["ElmoLstm"],
    "allennlp.modules": ["Elmo"],
    "allennlp.modules.token_embedders": ["ElmoTokenEmbedder"],
    "allennlp.modules.token_embedders.elmo_token_embedder": ["Elmo", "ElmoTokenEmbedder"],
}
OURS = {
    "_ElmoBiLm": elmo_fast.ElmoBiLm,
    "_ElmoCharacterEncoder": elmo_fast.ElmoCharacterEncoder,
    "ElmoLstm": elmo_fast.ElmoLstm,
    "batch_to_ids": batch_to_ids,
}


@pytest.fixture(scope="module")
def allennlp(test_data: Path) -> Iterator[Any]:
    """As that of conftest.py, for these tests alone."""
    with own_allennlp(test_data) as module:
        yield module


@pytest.fixture(autouse=True)
def not_installed() -> Iterator[None]:
    """Undoes the installation of a test, or every later test would compare this package with itself."""
    assert not patch.installed()
    yield
    patch.uninstall()


@pytest.fixture
def files(random_model) -> tuple[str, str]:  # type: ignore[no-untyped-def]
    """A random model's."""
    return tuple(map(str, random_model()))


def their(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def everything() -> dict[tuple[str, str], int]:
    """Returns the object behind every name of AllenNLP's modules, its registry and its two classes."""
    registry = their("allennlp.common", "Registrable")._registry
    found = {
        (module_name, name): id(value)
        for module_name, module in list(sys.modules.items())
        if module_name.partition(".")[0] == "allennlp"
        for name, value in vars(module).items()
    }
    for base, entries in registry.items():
        found |= {(repr(base), f"{k} {name}"): id(entry[0]) for k, (name, entry) in enumerate(entries.items())}
    for name in ("Elmo", "ElmoTokenEmbedder"):
        module = "elmo" if name == "Elmo" else "token_embedders.elmo_token_embedder"
        found |= {(name, key): id(value) for key, value in vars(their(f"allennlp.modules.{module}", name)).items()}
    return found


def test_every_name_and_back(allennlp) -> None:  # type: ignore[no-untyped-def]
    assert hasattr(patch, "Elmo")  # made now, so that AllenNLP's classes know of their new subclasses in both pictures
    before = everything()
    patch.install()
    assert patch.installed()
    for module, names in NAMES.items():
        for name in names:
            expected = OURS[name] if name in OURS else getattr(patch, name)
            assert their(module, name) is expected, (module, name)
    patch.install()
    patch.uninstall()
    assert not patch.installed()
    assert everything() == before
    patch.uninstall()
    assert everything() == before
    assert their("allennlp.modules", "Elmo") is allennlp.Elmo


def test_no_name_is_left(allennlp) -> None:  # type: ignore[no-untyped-def]
    names = ("Elmo", "ElmoBiLm", "ElmoCharacterEncoder", "ElmoLstm", "ElmoTokenEmbedder", "batch_to_ids")
    theirs = [getattr(allennlp, name) for name in names]
    patch.install()
    left = [
        (module_name, name)
        for module_name, module in list(sys.modules.items())
        if module_name.partition(".")[0] == "allennlp"
        for name, value in vars(module).items()
        if any(value is one for one in theirs)
    ]
    assert left == []


def test_modules_imported_before_and_after(allennlp, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    def module(name: str) -> Any:
        made: Any = ModuleType(name)
        exec("from allennlp.modules.elmo import Elmo as E, _ElmoBiLm", vars(made))
        monkeypatch.setitem(sys.modules, name, made)
        return made

    before, own = module("allennlp_models.before"), module("a_script")
    patch.install()
    after = module("allennlp_models.after")
    assert before.E is after.E is patch.Elmo
    assert before._ElmoBiLm is after._ElmoBiLm is elmo_fast.ElmoBiLm
    assert own.E is allennlp.Elmo  # not AllenNLP's to change
    monkeypatch.setattr(after, "mine", elmo_fast.Elmo, raising=False)
    patch.uninstall()
    assert before.E is after.E is own.E is allennlp.Elmo
    assert before._ElmoBiLm is after._ElmoBiLm is allennlp.ElmoBiLm
    assert after.mine is elmo_fast.Elmo


def test_what_was_ours_before_stays_ours(allennlp, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    made: Any = ModuleType("allennlp_models.patched")
    made.ElmoLstm = elmo_fast.ElmoLstm
    monkeypatch.setitem(sys.modules, made.__name__, made)
    patch.install()
    patch.uninstall()
    assert made.ElmoLstm is elmo_fast.ElmoLstm


def test_threads(allennlp) -> None:  # type: ignore[no-untyped-def]
    assert hasattr(patch, "Elmo")
    before = everything()
    errors: list[BaseException] = []

    def run() -> None:
        try:
            for _ in range(20):
                patch.install()
                patch.uninstall()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    patch.uninstall()
    assert everything() == before


def test_same_numbers(allennlp, files) -> None:  # type: ignore[no-untyped-def]
    words = ["@@pad@@", "Hello", "world", "one"]
    options = {"dropout": 0.0, "do_layer_norm": True, "vocab_to_cache": words}
    expected = allennlp.ElmoTokenEmbedder(*files, **options)
    patch.install()
    embedder = their("allennlp.modules.token_embedders", "ElmoTokenEmbedder")(*files, **options)
    assert [*embedder.state_dict()] == [*expected.state_dict()]
    ids = their("allennlp.modules.elmo", "batch_to_ids")(BATCH)
    for inputs in ((ids,), (ids, torch.tensor([[1, 2, 0], [3, 0, 0]])), (ids,)):
        assert (embedder(*inputs) - expected(*inputs)).abs().max() <= NATIVE
    expected.load_state_dict(embedder.state_dict())
    embedder.load_state_dict(expected.state_dict())


def test_what_the_new_classes_are(allennlp, files) -> None:  # type: ignore[no-untyped-def]
    from allennlp.common import FromParams
    from allennlp.modules.token_embedders import TokenEmbedder

    patch.install()
    embedder = their("allennlp.modules.token_embedders", "ElmoTokenEmbedder")(*files, projection_dim=5)
    elmo = their("allennlp.modules", "Elmo")(*files, 2, keep_sentence_boundaries=True)
    assert isinstance(embedder, TokenEmbedder) and isinstance(embedder, elmo_fast.ElmoTokenEmbedder)
    assert isinstance(elmo, FromParams) and isinstance(elmo, elmo_fast.Elmo)
    assert isinstance(embedder._elmo, their("allennlp.modules", "Elmo"))
    assert embedder.get_output_dim() == 5
    assert len(elmo(batch_to_ids(BATCH))["elmo_representations"]) == 2
    given = their("allennlp.modules", "Elmo")(None, None, 1, module=elmo._elmo_lstm)
    assert given._elmo_lstm is elmo._elmo_lstm
    with pytest.raises(TypeError, match="num_output_representations"):
        their("allennlp.modules", "Elmo")(*files)


def test_the_inner_lstm_as_scripts_reach_for_it(allennlp, files) -> None:  # type: ignore[no-untyped-def]
    patch.install()
    elmo = their("allennlp.modules", "Elmo")(*files, 1, dropout=0.0)
    lstm = lstm_of(elmo)
    assert lstm.stateful and lstm._states is None
    first = elmo(batch_to_ids(BATCH))["elmo_representations"][0]
    assert [part.shape for part in lstm._states] == [(2, 2, 12), (2, 2, 24)]
    lstm.reset_states()
    assert torch.equal(elmo(batch_to_ids(BATCH))["elmo_representations"][0], first)
    lstm.stateful, lstm._states = False, None
    assert torch.equal(elmo(batch_to_ids(BATCH))["elmo_representations"][0], first)
    assert elmo.state == "reset"


class TestFromParams:
    @pytest.fixture(autouse=True)
    def can_build(self, allennlp) -> None:  # type: ignore[no-untyped-def]
        import_models()

    def params(self, files: tuple[str, str], **options: Any) -> Any:
        return their("allennlp.common", "Params")({"options_file": files[0], "weight_file": files[1], **options})

    def test_the_registered_name(self, files) -> None:  # type: ignore[no-untyped-def]
        base = their("allennlp.modules.token_embedders", "TokenEmbedder")
        patch.install()
        assert base.by_name("elmo_token_embedder") is patch.ElmoTokenEmbedder
        options = {"projection_dim": 7, "requires_grad": True, "dropout": 0.25, "vocab_to_cache": ["@@pad@@", "one"]}
        more = {"do_layer_norm": True, "scalar_mix_parameters": [0.5, 1, 2], "precision": "bfloat16"}
        embedder = base.from_params(self.params(files, type="elmo_token_embedder", **options, **more))
        assert type(embedder) is patch.ElmoTokenEmbedder
        elmo = embedder._elmo
        assert (embedder.get_output_dim(), elmo._dropout.p, elmo.precision) == (7, 0.25, "bfloat16")
        assert (elmo._has_cached_vocab, elmo.scalar_mix_0.do_layer_norm) == (True, True)
        assert all(p.requires_grad for p in elmo._elmo_lstm.parameters())
        assert [p.item() for p in elmo.scalar_mix_0.scalar_parameters] == [0.5, 1.0, 2.0]

    def test_elmo(self, files, allennlp) -> None:  # type: ignore[no-untyped-def]
        patch.install()
        for kind in (their("allennlp.modules", "Elmo"), allennlp.Elmo):  # the second as an annotation read before
            elmo = kind.from_params(self.params(files, num_output_representations=2, keep_sentence_boundaries=True))
            assert type(elmo) is patch.Elmo
            assert len(elmo._scalar_mixes) == 2 and elmo._keep_sentence_boundaries

    def test_an_annotation_read_before(self, files, allennlp) -> None:  # type: ignore[no-untyped-def]
        base = their("allennlp.common", "FromParams")

        class Own(allennlp.Elmo):
            pass

        class Holder(base):
            def __init__(self, elmo: Any, own: Any) -> None:
                self.elmo, self.own = elmo, own

        Holder.__init__.__annotations__.update(elmo=allennlp.Elmo, own=Own)
        config = {"options_file": files[0], "weight_file": files[1], "num_output_representations": 1}
        params = {"elmo": config, "own": dict(config)}
        for kind in (patch.Elmo, allennlp.Elmo):
            if kind is patch.Elmo:
                patch.install()
            holder = Holder.from_params(their("allennlp.common", "Params")(copy.deepcopy(params)))
            assert type(holder.elmo) is kind
            assert type(holder.own) is Own  # a subclass is its owner's
            patch.uninstall()

    def test_wrong_values_are_found_as_before(self, files) -> None:  # type: ignore[no-untyped-def]
        base = their("allennlp.modules.token_embedders", "TokenEmbedder")
        error = their("allennlp.common.checks", "ConfigurationError")
        patch.install()
        for options, kind, message in (
            ({"dropout": "much"}, TypeError, "Expected dropout to be numeric"),
            ({"precision": 8}, TypeError, "Expected precision to be a string"),
            ({"dropuot": 0.5}, error, "dropuot"),
            ({"precision": "float8"}, ValueError, "precision: expected one of"),
        ):
            with pytest.raises(kind, match=message):
                base.from_params(self.params(files, type="elmo_token_embedder", **options))
        with pytest.raises(FileNotFoundError, match="nowhere.json"):
            base.from_params(self.params(("nowhere.json", files[1]), type="elmo_token_embedder"))


def test_files_that_are_not_local(allennlp, files, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    asked = []

    def cached_path(path: str, extract_archive: bool = False) -> str:
        asked.append((path, extract_archive))
        return files["weight" in path]

    monkeypatch.setattr("allennlp.common.file_utils.cached_path", cached_path)
    patch.install()
    their("allennlp.modules", "Elmo")("https://a.b/options.json", "model.tar.gz!weights.hdf5", 1)
    their("allennlp.modules", "Elmo")(files[0], Path(files[1]), 1)
    assert asked == [("https://a.b/options.json", False), ("model.tar.gz!weights.hdf5", True)]
    their("allennlp.modules.token_embedders", "ElmoTokenEmbedder")()
    assert [path for path, _ in asked[2:]] == [models.ORIGINAL_OPTIONS_URL, models.ORIGINAL_WEIGHTS_URL]


@pytest.mark.parametrize("requires_grad", [False, True])
def test_training_curve(tiny_model, allennlp, one_torch_thread, requires_grad: bool) -> None:  # type: ignore[no-untyped-def]
    expected = make_tagger(tiny_model, requires_grad=requires_grad)
    patch.install()
    model = make_tagger(tiny_model, requires_grad=requires_grad)
    embedder = model.text_field_embedder.token_embedder_elmo
    assert type(embedder) is patch.ElmoTokenEmbedder
    state = expected.state_dict()
    assert [*model.state_dict()] == [*state]
    for name, tensor in embedder.state_dict().items():
        assert torch.equal(tensor, state[f"text_field_embedder.token_embedder_elmo.{name}"]), name
    model.load_state_dict(state)  # the other layer: AllenNLP's ELMo draws random numbers before it reads its weights
    losses = train(model, optimizer_of(model))
    for step, (loss, other) in enumerate(zip(losses, train(expected, optimizer_of(expected)), strict=True)):
        assert abs(loss - other) <= LOSS_CURVE, step
    assert losses[-1] < 0.7 * losses[0]
    assert requires_grad or dispatch.choose(**embedder._elmo._elmo_lstm._call()).name == "cpu"


def test_an_archive(tiny_model, allennlp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """Stored by a model of AllenNLP's own, loaded while installed, as `Predictor.from_path` does it."""
    import_models()  # the lock of files is one of the packages that are not there
    monkeypatch.setattr("allennlp.data.vocabulary.FileLock", lambda *args, **options: contextlib.nullcontext())
    before = make_tagger(tiny_model).eval()
    from allennlp.common import Params
    from allennlp.models import load_archive

    Params({"model": tagger_params(tiny_model), "dataset_reader": {"type": "sequence_tagging"}}).to_file(
        str(tmp_path / "config.json")
    )
    torch.save(before.state_dict(), tmp_path / "weights.th")
    vocabulary().save_to_files(str(tmp_path / "vocabulary"))
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz") as archive:
        for name in ("config.json", "weights.th", "vocabulary"):
            archive.add(tmp_path / name, arcname=name)
    patch.install()
    model = load_archive(str(tmp_path / "model.tar.gz")).model
    assert type(model) is tagger_class()
    assert type(model.text_field_embedder.token_embedder_elmo) is patch.ElmoTokenEmbedder
    for batch in batches():
        with torch.no_grad():
            assert (model(**batch)["logits"] - before(**batch)["logits"]).abs().max() <= GOLDEN_CASE["tiny"]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies(allennlp, files, duplicate: Callable[[Any], Any]) -> None:  # type: ignore[no-untyped-def]
    patch.install()
    model = torch.nn.ModuleList(
        [
            their("allennlp.modules", "Elmo")(*files, 1, dropout=0.0),
            their("allennlp.modules.token_embedders", "ElmoTokenEmbedder")(*files, dropout=0.0),
            their("allennlp.modules.elmo", "_ElmoBiLm")(*files),
        ]
    )
    for still in (True, False):
        if not still:
            patch.uninstall()
        other = duplicate(model)
        assert [type(part) for part in other] == [type(part) for part in model]
        assert type(other[1]._elmo) is patch.Elmo
        assert torch.equal(other[1](batch_to_ids(BATCH)), model[1](batch_to_ids(BATCH)))


def test_subclasses_of_allennlps_own(allennlp, files) -> None:  # type: ignore[no-untyped-def]
    class Own(allennlp.ElmoBiLm):
        pass

    expected = Own(*files)(batch_to_ids(BATCH))["activations"]
    patch.install()
    own = Own(*files)  # its constructor is AllenNLP's, and finds this package's parts
    assert type(own._elmo_lstm) is elmo_fast.ElmoLstm
    for one, other in zip(own(batch_to_ids(BATCH))["activations"], expected, strict=True):
        assert (one - other).abs().max() <= NATIVE


def test_without_allennlp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "allennlp", None)
    for name in [name for name in sys.modules if name.startswith("allennlp.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ImportError, match="pip install --no-deps allennlp==2.10.1"):
        patch.install()
    assert not patch.installed()
    with pytest.raises(ImportError, match="pip install --no-deps allennlp==2.10.1"):
        _ = patch.Elmo
    with pytest.raises(AttributeError, match="has no attribute 'elmo'"):
        _ = patch.elmo


def test_import_does_not_bring_allennlp() -> None:
    code = (
        "import sys; from elmo_fast.allennlp import install, installed, uninstall; uninstall(); "
        "print(installed(), [name for name in sys.modules if name.startswith('allennlp')])"
    )
    result = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False []"
