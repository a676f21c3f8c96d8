"""Edits one line as it is typed: the only importer of prompt_toolkit.

It is imported when the first question is asked. None of the library's key bindings is active:
`adapters.terminal.keys` decodes the input, and this module binds the keys.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final, TextIO, cast

from prompt_toolkit.application import Application, create_app_session
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.input.vt100 import Vt100Input
from prompt_toolkit.key_binding import KeyBindings, KeyPress, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import Layout, Window
from prompt_toolkit.layout.controls import BufferControl
from prompt_toolkit.layout.processors import BeforeInput
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output

from phase_boot.adapters.terminal.keys import Decoder, Key
from phase_boot.adapters.terminal.terminals import (
    MAX_LINE,
    InputCancelled,
    Terminal,
    TerminalClosed,
)

RESIZE_SECONDS: Final = 1.0
"""Interval of window size queries: a serial line sends no SIGWINCH."""


async def edited_line(
    terminal: Terminal,
    prompt: Callable[[], str],
    *,
    pressed: Callable[[], object],
    refresh: float | None = None,
) -> str:
    """Return a line that was typed and edited after ``prompt``; there is no timeout.

    Args:
        terminal: the terminal that is read.
        prompt: returns the text before the line, at each redraw.
        pressed: called for each key.
        refresh: seconds between redraws.

    Raises:
        TerminalClosed: the terminal is gone.
        InputCancelled: Ctrl-C or Ctrl-D was typed.
    """
    buffer = Buffer(multiline=False)
    control = BufferControl(buffer, input_processors=[BeforeInput(prompt)])
    application: Application[str] = Application(
        layout=Layout(Window(control, height=1, dont_extend_height=True)),
        key_bindings=_bindings(buffer, pressed),
        input=_Keyboard(terminal),
        output=_Screen(terminal),
        color_depth=ColorDepth.DEPTH_1_BIT,
        terminal_size_polling_interval=RESIZE_SECONDS,
        refresh_interval=refresh,
    )
    try:
        # An application session of its own: other terminals edit lines at the same time.
        with create_app_session():
            return await application.run_async(handle_sigint=False, set_exception_handler=False)
    except EOFError as error:
        raise (TerminalClosed() if terminal.hung_up() else InputCancelled()) from error


def _bindings(buffer: Buffer, pressed: Callable[[], object]) -> KeyBindings:
    """Return the key bindings, eager, so that no binding of the library takes precedence."""
    bindings = KeyBindings()

    @bindings.add(Keys.Any, eager=True)
    def _(event: KeyPressEvent) -> None:
        pressed()
        act = _ACTS.get(event.data)
        if act is not None:
            act(event, buffer)
        elif len(event.data) == 1 and len(buffer.text) < MAX_LINE:
            buffer.insert_text(event.data)

    return bindings


def _move(buffer: Buffer, place: int) -> None:
    buffer.cursor_position = place


_ACTS: Final[dict[str, Callable[[KeyPressEvent, Buffer], object]]] = {
    Key.ENTER: lambda event, buffer: event.app.exit(result=buffer.text),
    Key.WITHDRAW: lambda event, _: event.app.exit(exception=InputCancelled()),
    Key.BACKSPACE: lambda _, buffer: buffer.delete_before_cursor(),
    Key.DELETE: lambda _, buffer: buffer.delete(),
    Key.LEFT: lambda _, buffer: buffer.cursor_left(),
    Key.RIGHT: lambda _, buffer: buffer.cursor_right(),
    Key.HOME: lambda _, buffer: _move(buffer, 0),
    Key.END: lambda _, buffer: _move(buffer, len(buffer.text)),
    Key.CLEAR: lambda _, buffer: buffer.set_document(Document()),
}


class _Keyboard(Vt100Input):
    """The input, decoded by `keys`: the library's decoder buffers without bound."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(cast("TextIO", _Typed(terminal)))
        self._decoder = Decoder()

    def read_keys(self) -> list[KeyPress]:
        return [KeyPress(_named(key), key) for key in self._decoder.feed(self.stdin_reader.read())]

    def flush_keys(self) -> list[KeyPress]:
        return []


def _named(key: Key | str) -> Keys | str:
    """Return a key name that the library accepts; the binding reads the key from its data."""
    return Keys.F24 if isinstance(key, Key) else key


class _Screen(Vt100_Output):
    """A VT100 without colours that never reports its cursor position."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(
            cast("TextIO", _Shown(terminal)),
            get_size=lambda: Size(columns=terminal.size()[0], rows=terminal.size()[1]),
            term="vt100",
            enable_bell=False,
            enable_cpr=False,
        )

    def enable_bracketed_paste(self) -> None:
        """Do nothing: pasted text is not marked."""

    def disable_bracketed_paste(self) -> None:
        """Do nothing: pasted text is not marked."""


class _Typed:
    """The file methods that `Vt100Input` calls."""

    encoding = "utf-8"

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def fileno(self) -> int:
        return self._terminal.reader

    def isatty(self) -> bool:
        return True


class _Shown:
    """The file methods that `Vt100_Output` calls; writing never blocks."""

    encoding = "utf-8"

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def write(self, text: str) -> None:
        self._terminal.write(text)

    def flush(self) -> None:
        """Do nothing: nothing is buffered here."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation("the terminal stays non-blocking")

    def isatty(self) -> bool:
        return True
