"""What `import elmo_fast` gives: the public names, and no slow imports beyond torch."""

from __future__ import annotations

import builtins
import inspect
import json
import pkgutil
import re
import subprocess
import sys

from helpers.processes import ENVIRONMENT

import elmo_fast

SLOW = {"h5py", "tqdm", "matplotlib", "sympy", "elmo_fast.bench", "elmo_fast.cli"}


def new_modules(first: str, then: str) -> set[str]:
    """The modules that the second import adds to the first one's."""
    code = (
        f"import json, sys; {first}; before = set(sys.modules); {then}; print(json.dumps([*set(sys.modules) - before]))"
    )
    run = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


def test_import_is_light() -> None:
    modules = new_modules("import torch", "import elmo_fast")
    assert "elmo_fast.elmo_embedder" in modules
    assert not modules & SLOW


def test_no_public_name_is_also_a_modules() -> None:
    # The import system would replace the function by the module, depending on what was imported before.
    assert not {module.name for module in pkgutil.iter_modules(elmo_fast.__path__)} & {*elmo_fast.__all__}


def test_dir_shows_the_public_names() -> None:
    names = dir(elmo_fast)
    assert [name for name in names if not name.startswith("__")] == sorted({*elmo_fast.__all__} - {"__version__"})
    assert {"__doc__", "__version__", "__file__"} <= {*names}
    assert all(hasattr(elmo_fast, name) for name in names)


def test_public_classes_and_errors() -> None:
    expected = {"CacheInfo", "DownloadError", "Elmo", "ElmoEmbedder", "Embedder", "WeightsError"}
    assert expected <= {*elmo_fast.__all__}
    assert issubclass(elmo_fast.WeightsError, ValueError) and issubclass(elmo_fast.DownloadError, OSError)
    assert isinstance(elmo_fast.load("tiny"), elmo_fast.Embedder)


def test_documented_errors_can_be_imported() -> None:
    documented: set[str] = set()
    for name in elmo_fast.__all__:
        item = getattr(elmo_fast, name)
        members = [item, *vars(item).values()] if isinstance(item, type) else [item]
        for member in members:
            for raises in re.findall(
                r"Raises:\n(.*?)(?:\n\n|\Z|\n *[A-Z]\w+:\n)", inspect.getdoc(member) or "", re.DOTALL
            ):
                documented |= set(re.findall(r"[\w.]*(?:Error|Exit)\b", raises))
    assert {"ValueError", "WeightsError", "DownloadError", "FileNotFoundError"} <= documented
    assert {name for name in documented if not hasattr(builtins, name)} <= {*elmo_fast.__all__}


def test_making_a_module_is_light() -> None:
    make = "from elmo_fast import models; elmo_fast.Elmo(*models.resolve('tiny'), 1)"
    assert not new_modules("import torch, h5py, elmo_fast", make) & (SLOW - {"h5py"})
