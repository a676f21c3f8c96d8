"""`phase-boot` with little memory, a full disk or a kill: programs for `python -c`."""

from __future__ import annotations

from typing import Final

LITTLE_MEMORY: Final = """
import resource, sys
from phase_boot.cli.main import main
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
sys.exit(main())
"""
FULL_DISK: Final = """
import resource, sys
from phase_boot.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
sys.exit(main())
"""


def killed_before_rename(number: int = 1) -> str:
    """Return a program that is killed before its ``number``th rename."""
    return f"""
import os, signal, sys
left = {number}
def killed(event, _):
    global left
    if event == "os.rename":
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(killed)
from phase_boot.cli.main import main
sys.exit(main())
"""
