"""`python -m phase_boot.cli` is the command `phase-boot`."""

import sys

from phase_boot.cli.main import main

sys.exit(main())
