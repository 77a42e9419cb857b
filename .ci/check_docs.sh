#!/usr/bin/env bash
# Builds the documentation site into build/site, with every warning an error (a broken link or anchor, a page that the
# navigation lacks, a name that the reference cannot find), and checks the links of the other Markdown files.
# The code samples are checked by tests/api/test_docs_samples.py. Needs the packages of .ci/docs-requirements.txt.
set -euo pipefail
cd "$(dirname "$0")/.."
python .ci/check_links.py
# Not --quiet: it hides warnings from --strict, too.
NO_MKDOCS_2_WARNING=1 python -m mkdocs build --strict
test -s build/site/reference/modules/index.html
grep -q 'id="elmo_fast.elmo.Elmo.forward"' build/site/reference/modules/index.html
