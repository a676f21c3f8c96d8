"""The edge of every command: foreign exceptions and broken streams end in a sentence and a status.

A command may raise any exception; no traceback reaches a person. With PHASE_BOOT_TRACE=1 in the
environment an unforeseen exception is printed in full, as the seed's unit has it for the journal.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import select
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TextIO

FAILED: Final = 1
USAGE: Final = 2
UNFORESEEN: Final = 70
"""EX_SOFTWARE of sysexits.h."""
INTERRUPTED: Final = 130
"""128 + SIGINT, as shells report a program that Ctrl-C ended."""
READER_LEFT: Final = 141
"""128 + SIGPIPE, as shells report a program whose reader is gone."""
STATUSES: Final[Mapping[int, str]] = MappingProxyType(
    {
        0: "done",
        FAILED: "refused or failed; standard error has the cause in one sentence",
        USAGE: "the command line cannot be used",
        3: "plasma run: the job did not end well",
        UNFORESEEN: "a fault of the program itself",
        INTERRUPTED: "interrupted by Ctrl-C",
        READER_LEFT: "the reader of the output is gone",
    }
)
"""Every exit status and its meaning."""
TRACE: Final = "PHASE_BOOT_TRACE"
_MAX_NAME: Final = 200
"""Characters of a file name or an exception's text that a message shows."""


def run(main: Callable[[], int], *, whole: bool = True) -> int:
    """Return the exit status of ``main`` for every exception and every failure of its streams.

    Args:
        main: the command. A SystemExit of it passes through, as argparse raises one.
        whole: whether the process exists for this command alone. If so its standard streams are
            opened where they are closed, and hooks of the interpreter print no traceback.
    """
    if whole:
        _open_streams()
        _quiet_hooks()
    try:
        return _flushed(main)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        return _of_system(error)
    except UnicodeEncodeError as error:
        _say(f"{ascii(error.object)[:_MAX_NAME]} is not valid UTF-8: use another name or text.")
        return USAGE
    except Exception as error:  # noqa: BLE001 - this is the place that no exception may pass
        return _unforeseen(error)
    finally:
        _discard_unwritten()


def epilog() -> str:
    """Return the exit statuses as a help text lists them."""
    return "exit status: " + "; ".join(f"{status} {means}" for status, means in STATUSES.items())


def _flushed(main: Callable[[], int]) -> int:
    """Return what ``main`` does once its output is written."""
    try:
        status = main()
    except SystemExit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return status


def _of_system(error: OSError) -> int:
    if isinstance(error, BrokenPipeError) and _reader_left():
        return READER_LEFT
    cause = error.strerror or str(error) or type(error).__name__
    name = error.filename
    if isinstance(name, str | bytes | os.PathLike):
        _say(f"{_short(os.fsdecode(name))} cannot be used: {cause}.")
    elif not _takes_output(sys.stdout):
        _say(f"The output cannot be written: {cause}.")
    else:
        _say(f"A file or a stream cannot be used: {cause}.")
    return FAILED


def _unforeseen(error: Exception) -> int:
    if os.environ.get(TRACE):
        with contextlib.suppress(OSError, ValueError):
            traceback.print_exception(error)
        return UNFORESEEN
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {'/'.join(frames[-1].filename.split('/')[-3:])}:{frames[-1].lineno}"
    said = f": {_short(str(error))}" if str(error) else ""
    _say(
        f"This is a fault of the program ({type(error).__name__}{where if frames else ''}{said}): "
        f"report it, with what {TRACE}=1 prints."
    )
    return UNFORESEEN


def _reader_left() -> bool:
    """Return whether a standard output stream is a pipe without a reader."""
    poll = select.poll()
    for number in (1, 2):
        poll.register(number, 0)
    return any(happened & select.POLLERR for _, happened in poll.poll(0))


def _takes_output(stream: TextIO) -> bool:
    try:
        stream.flush()
        # An unbuffered stream has nothing left that could fail.
        os.write(stream.fileno(), b"")
    except io.UnsupportedOperation:
        return True
    except (OSError, ValueError):
        return False
    return True


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{sentence}\n")
        sys.stderr.flush()


def _short(text: str) -> str:
    """Return ``text``, shortened and with control characters escaped."""
    cut = text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 3]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def _discard_unwritten() -> None:
    """Drop output that cannot be written: the interpreter would report it at its exit."""
    for stream in (sys.stdout, sys.stderr):
        if not _takes_output(stream):
            with contextlib.suppress(OSError, ValueError):
                nothing = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nothing, stream.fileno())
                os.close(nothing)


def _open_streams() -> None:
    """Open standard streams that are closed, so that no other file takes their descriptors.

    As in gnulib's stdopen(3), reading or writing a closed one then fails with EBADF; standard
    error is an exception, so that a message that cannot be shown changes no exit status.
    """
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)  # noqa: FBT003 - its signature
    # Python leaves None where it found no descriptor.
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - it stays open
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - the same
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - the same
    for stream in (sys.stdout, sys.stderr):
        # File names need not be text, and a terminal need not know UTF-8.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _quiet_hooks() -> None:
    """Prevent tracebacks of logging, threads and destructors."""
    if os.environ.get(TRACE):
        return
    logging.lastResort = _OneLine(logging.WARNING)
    threading.excepthook = lambda failed: _say(
        f"This is a fault of the program (a thread ended by {failed.exc_type.__name__}): "
        f"report it, with what {TRACE}=1 prints."
    )
    sys.unraisablehook = lambda _: None


class _OneLine(logging.Handler):
    """Prints the first line of a message and no trace."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print ``record``."""
        _say(f"{record.levelname.lower()}: {_short(record.getMessage().partition(chr(10))[0])}")
