"""One line, edited as it is typed: the only importer of prompt_toolkit.

It is imported when a person is asked, never before. Of the library's keys none is left in force:
`adapters.keys` decodes what is typed, and what a key does stands here.
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
"""How often the size of the window is asked: a serial line sends no signal when it changes."""


async def edited_line(
    terminal: Terminal,
    prompt: Callable[[], str],
    *,
    pressed: Callable[[], object],
    refresh: float | None = None,
) -> str:
    """Return a line that was typed and edited after ``prompt``; wait for ever if need be.

    Args:
        terminal: where it is typed.
        prompt: returns what stands before the line, each time that it is drawn.
        pressed: called for each key.
        refresh: seconds after which the line is drawn again.

    Raises:
        TerminalClosed: there will be none.
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
        # A session of its own: somebody may edit a line at another terminal at the same time.
        with create_app_session():
            return await application.run_async(handle_sigint=False, set_exception_handler=False)
    except EOFError as error:
        raise (TerminalClosed() if terminal.hung_up() else InputCancelled()) from error


def _bindings(buffer: Buffer, pressed: Callable[[], object]) -> KeyBindings:
    """Return what the keys do. They are eager, so that no binding of the library comes first."""
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
    """What is typed, by our own decoder: the library's holds back without bound."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(cast("TextIO", _Typed(terminal)))
        self._decoder = Decoder()

    def read_keys(self) -> list[KeyPress]:
        return [KeyPress(_named(key), key) for key in self._decoder.feed(self.stdin_reader.read())]

    def flush_keys(self) -> list[KeyPress]:
        return []


def _named(key: Key | str) -> Keys | str:
    """Return any name that the library knows; what the key is stands in its data."""
    return Keys.F24 if isinstance(key, Key) else key


class _Screen(Vt100_Output):
    """A VT100 of one colour that never answers where its cursor is."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(
            cast("TextIO", _Shown(terminal)),
            get_size=lambda: Size(columns=terminal.size()[0], rows=terminal.size()[1]),
            term="vt100",
            enable_bell=False,
            enable_cpr=False,
        )

    def enable_bracketed_paste(self) -> None:
        """Ask for no marks around what is pasted."""

    def disable_bracketed_paste(self) -> None:
        """There are none."""


class _Typed:
    """What `Vt100Input` asks of a file."""

    encoding = "utf-8"

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def fileno(self) -> int:
        return self._terminal.reader

    def isatty(self) -> bool:
        return True


class _Shown:
    """What `Vt100_Output` asks of a file; it never waits for the terminal."""

    encoding = "utf-8"

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal

    def write(self, text: str) -> None:
        self._terminal.write(text)

    def flush(self) -> None:
        """There is nothing that is kept."""

    def fileno(self) -> int:
        raise io.UnsupportedOperation("it is not to be made blocking")

    def isatty(self) -> bool:
        return True
