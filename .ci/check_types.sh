#!/usr/bin/env bash
# Type checks, with the settings of pyproject.toml: mypy reads the package and a user's program, pyright the program as
# a user's editor does. Needs mypy, pyright (which fetches Node.js where there is none) and the package's dependencies.
set -euo pipefail
cd "$(dirname "$0")/.."
python -m mypy
# This interpreter, so that pyright finds the same torch and NumPy as mypy.
python -m pyright --pythonpath "$(python -c 'import sys; print(sys.executable)')"
