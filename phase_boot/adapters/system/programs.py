"""Runs system programs such as mount(8), whose output matters only on failure."""

from __future__ import annotations

import asyncio
from typing import Final

MAX_OUTPUT: Final = 300
"""Characters of a program's output, at most."""


async def run(*command: str) -> str | None:
    """Run a command; return None on success, else its error output in one line."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        return f"{command[0]} cannot be run: {error.strerror}"
    _, said = await process.communicate()
    if process.returncode == 0:
        return None
    return " ".join(said.decode("utf-8", "replace").split())[:MAX_OUTPUT] or f"{command[0]} failed"
