"""`python -m facevid` is the `facevid` command."""

import sys

from facevid.cli import main

if __name__ == "__main__":
    sys.exit(main())
