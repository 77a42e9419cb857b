"""What `import elmo_fast` brings with it, beyond torch."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import elmo_fast

# A child imports the package that this process tests.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(elmo_fast.__file__).resolve().parent.parent)}

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


def test_making_a_module_is_light() -> None:
    make = "from elmo_fast import models; elmo_fast.Elmo(*models.resolve('tiny'), 1)"
    assert not new_modules("import torch, h5py, elmo_fast", make) & (SLOW - {"h5py"})
