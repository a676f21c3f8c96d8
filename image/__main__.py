"""`python -m image`: the builder's command line."""

import sys

from image.cli import main

if __name__ == "__main__":
    sys.exit(main())
