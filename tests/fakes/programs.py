"""`phase-boot` in a world that fails: programs for `python -c`."""

from __future__ import annotations

from typing import Final

KILLED_BEFORE_RENAME: Final = """
import os, signal, sys
def killed(event, _):
    if event == "os.rename":
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(killed)
from phase_boot.cli import main
sys.exit(main())
"""
LITTLE_MEMORY: Final = """
import resource, sys
from phase_boot.cli import main
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
sys.exit(main())
"""
