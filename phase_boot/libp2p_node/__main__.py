"""``python -m phase_boot.libp2p_node [USER]``: gives up its rights, then speaks libp2p.

With a number the process takes that user and group id; it must be root then.
"""

from __future__ import annotations

import os
import resource
import sys
from typing import Final

from phase_boot.libp2p_node import unused_modules
from phase_boot.sandbox.process import Confinement, confine, keep_descriptors

MIB: Final = 1024 * 1024
MAX_MEMORY: Final = 256 * MIB
"""Bytes of data: a host takes 50 MB, and 61 MB while it fetches blocks."""
MAX_DESCRIPTORS: Final = 512
_MAX_THREADS: Final = 16
_STANDARD: Final = (0, 1, 2)


def main() -> None:
    """Run the process until its standard input ends."""
    user = int(sys.argv[1]) if sys.argv[1:] else None
    keep_descriptors(_STANDARD)
    confine(confinement(user))
    output = _own_output()
    unused_modules.install()
    import trio  # noqa: PLC0415 - imported without rights, as all that handles the network

    from phase_boot.libp2p_node.operations import OPERATIONS  # noqa: PLC0415 - the same
    from phase_boot.libp2p_node.program import run  # noqa: PLC0415 - the same

    async def serve() -> None:
        source = trio.lowlevel.FdStream(os.dup(0))
        await run(source, trio.lowlevel.FdStream(output), OPERATIONS)

    trio.run(serve)


def confinement(user: int | None) -> Confinement:
    """Return what the process gives up: it keeps the network, and writes no file."""
    limits = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_DATA: (MAX_MEMORY, MAX_MEMORY),
        resource.RLIMIT_NOFILE: (MAX_DESCRIPTORS, MAX_DESCRIPTORS),
    }
    if user is not None:
        # The limit counts per user, so it is set for a user of its own only.
        limits[resource.RLIMIT_NPROC] = (_MAX_THREADS, _MAX_THREADS)
    return Confinement(user=user, limits=limits, traceable=False)


def _own_output() -> int:
    """Return a descriptor of the standard output; what libraries print goes to standard error."""
    output = os.dup(1)
    os.dup2(2, 1)
    return output


if __name__ == "__main__":
    main()
