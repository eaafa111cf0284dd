"""`python -m scipion_udl.cli`."""

import sys

from scipion_udl.cli.program import main

if __name__ == "__main__":
    sys.exit(main())
