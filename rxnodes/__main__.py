"""`python -m rxnodes` is the command `rxnodes`."""

import sys

from rxnodes.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
