"""``python -m cutaway.cli``: the command line without an installed script."""

import sys

from . import main

if __name__ == "__main__":
    sys.exit(main())
