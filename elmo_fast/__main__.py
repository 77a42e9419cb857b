"""`python -m elmo_fast` is the command `elmo-fast`."""

import sys

from elmo_fast.cli import main

if __name__ == "__main__":
    sys.exit(main())
