"""A virtual machine that boots a stick under real UEFI firmware and tells what happened in it.

`with Machine(image, arch=..., lab=lab) as vm: vm.until("target.report")`. What happened is read
as typed events from the guest's port `org.phase_boot.events`; the console goes to a file for
people and is never looked into. Every machine has a deadline. When the block ends with an error,
log, journal and disk stay behind in `build/failures/<name>`, and the error says so.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from image.guest_events import Event, LineReader, Unreadable
from image.hardware import BOARDS, Hardware, arguments
from image.lab import Lab, LabError, Nic
from image.private_stick import PrivateStick
from image.qmp import Qmp, QmpError

FAILURES: Final = Path("build/failures")
KEY_SECONDS: Final = 0.1


class MachineFailed(RuntimeError):
    """The guest did not do in time what was waited for."""


class Machine:
    """A guest booting its own copy of `image`.

    `mode` names the loader entry, `cmdline` is appended to its options, `deadline` in seconds of
    life. `started` is when QEMU was started, by the host's monotonic clock.
    """

    def __init__(  # noqa: PLR0913 - the knobs of a machine, all by keyword
        self,
        image: Path,
        *,
        hardware: Hardware,
        lab: Lab,
        name: str = "",
        mode: str = "internet",
        cmdline: str = "",
        deadline: float = 900.0,
        watch: Callable[[Event], None] | None = None,
        failures: Path = FAILURES,
    ) -> None:
        self.name = name or f"{image.stem}-{mode}"
        self.hardware = hardware
        self.unreadable: list[Unreadable] = []
        self.started = 0.0
        self.stick: PrivateStick
        self.nic: Nic
        self.kept = failures.absolute() / self.name
        self.folder = Path()
        self._image, self._lab, self._mode, self._cmdline = image, lab, mode, cmdline
        self._deadline = deadline
        self._watch = watch
        self._events: list[Event] = []
        self._news = threading.Condition()
        self._over = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._reader = threading.Thread(target=self._read, name=f"events of {self.name}")
        self._timer = threading.Timer(deadline, self._expire)
        self._port = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="vm-", dir=self._lab.folder))
        try:
            self._prepare()
            self._start()
        except BaseException as error:
            self._leave(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave(error)

    # -- what happened -------------------------------------------------------------------------

    @property
    def events(self) -> tuple[Event, ...]:
        """Everything the guest has said so far, in order of arrival."""
        with self._news:
            return tuple(self._events)

    def named(self, name: str) -> list[Event]:
        """Every event so far of that name."""
        return [event for event in self.events if event.name == name]

    def until(
        self,
        name: str,
        *,
        timeout: float,
        unless: Sequence[str] = (),
        where: Callable[[Event], bool] = lambda _event: True,
    ) -> Event:
        """Wait for the first event `name` (past ones count) that fits `where`.

        Raises MachineFailed after `timeout` seconds, when the machine ends, or as soon as the
        guest says one of the events named in `unless`.
        """
        give_up = time.monotonic() + timeout
        with self._news:
            seen = 0
            while True:
                for event in self._events[seen:]:
                    if event.name == name and where(event):
                        return event
                    if event.name in unless:
                        raise MachineFailed(f"{self.name}: {_told(event)} instead of `{name}`.")
                seen = len(self._events)
                left = give_up - time.monotonic()
                if self._over or left <= 0:
                    why = self._over or f"not within {timeout:g} s"
                    raise MachineFailed(f"{self.name}: no `{name}`: {why}. {self._heard()}")
                self._news.wait(left)

    def ask(self, path: str, *, timeout: float = 60.0) -> bytes:
        """What the guest serves as `path` over HTTP, at the address that the lab gave it.

        Raises MachineFailed when it has not answered within `timeout` seconds.
        """
        give_up = time.monotonic() + timeout
        reason = "it asked for no address"
        while time.monotonic() < give_up:
            address = self._lab.leases().get(self.nic.mac)
            if address:
                try:
                    return self._lab.fetch(f"http://{address}{path}")
                except LabError as error:
                    reason = str(error)
            time.sleep(0.25)
        raise MachineFailed(f"{self.name} does not serve {path}: {reason}")

    @property
    def running(self) -> bool:
        """Whether it is on."""
        return self._process is not None and self._process.poll() is None

    # -- what one may do to it -----------------------------------------------------------------

    def qmp(self) -> Qmp:
        """A connection to QEMU's control socket; use it as a context manager."""
        return Qmp(self.folder / "qmp.sock")

    def plug(self, *, up: bool) -> None:
        """Pull the network cable, or put it back."""
        with self.qmp() as qmp:
            qmp.ask("set_link", {"name": "net0", "up": up})

    def type(self, text: str) -> None:
        """Press keys on the serial console, one after the other as a person does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as console:
            console.connect(str(self.folder / "console.sock"))
            for key in text:
                console.sendall(key.encode())
                # The port takes a few bytes at a time, and closing drops what it has not taken.
                time.sleep(KEY_SECONDS)

    def stop(self) -> None:
        """End the machine as pulling its plug would, and wait until it has. Safe to call twice."""
        self._timer.cancel()
        process = self._process
        if process is None:
            return
        if self.running:
            with suppress(QmpError), self.qmp() as qmp:
                qmp.ask("quit")
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait(10)
        self._reader.join(10)

    # -- inside --------------------------------------------------------------------------------

    def _prepare(self) -> None:
        board = BOARDS[self.hardware.arch]
        for file in (board.code, board.vars):
            if not file.exists():
                raise MachineFailed(f"{file} is not here; install the package {board.package}.")
        self.stick = PrivateStick(self._image, self.folder / "stick.img")
        self.stick.choose(self._mode, cmdline=self._cmdline)
        shutil.copyfile(board.vars, self.folder / "vars.fd")
        self.nic = self._lab.nic()
        self._port.bind(str(self.folder / "events.sock"))
        self._port.listen(1)

    def _start(self) -> None:
        argv = arguments(self.hardware, self.folder, self.nic)
        (self.folder / "command").write_text(" ".join(argv) + "\n")
        with (self.folder / "qemu.log").open("wb") as log:
            self.started = time.monotonic()
            self._process = self._lab.popen(argv, stdout=log, stderr=log)
        self._port.settimeout(30)
        try:
            stream, _ = self._port.accept()
        except TimeoutError as error:
            said = (self.folder / "qemu.log").read_text(errors="replace").strip()
            raise MachineFailed(f"{self.name}: QEMU did not start: {said or 'no word'}.") from error
        finally:
            self._port.close()
        self._port = stream
        self._port.settimeout(None)
        self._reader.start()
        self._timer.start()

    def _read(self) -> None:
        lines = LineReader()
        with (self.folder / "events.jsonl").open("ab", buffering=0) as journal:
            while data := self._receive():
                journal.write(data)
                for event in lines.feed(data):
                    self._hear(event)
        with self._news:
            self._over = self._over or "the machine ended"
            self._news.notify_all()

    def _receive(self) -> bytes:
        try:
            return self._port.recv(65536)
        except OSError:
            return b""

    def _hear(self, event: Event | Unreadable) -> None:
        with self._news:
            if isinstance(event, Unreadable):
                self.unreadable.append(event)
                return
            self._events.append(event)
            self._news.notify_all()
        if self._watch is not None:
            self._watch(event)

    def _heard(self) -> str:
        last = _told(self._events[-1]) if self._events else "nothing at all"
        torn = f" {len(self.unreadable)} lines were no events." if self.unreadable else ""
        return f"Last heard: {last}.{torn}"

    def _expire(self) -> None:
        with self._news:
            self._over = f"its deadline of {self._deadline:g} s is over"
            self._news.notify_all()
        if self._process is not None:
            self._process.terminate()

    def _leave(self, error: BaseException | None) -> None:
        self.stop()
        self._port.close()
        if error is None or isinstance(error, KeyboardInterrupt):
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        place = self.folder
        with suppress(OSError):
            shutil.rmtree(self.kept, ignore_errors=True)
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            place = Path(shutil.move(self.folder, self.kept))
        error.add_note(f"Log, journal and disk of {self.name} are in {place}.")


def _told(event: Event) -> str:
    about = ", ".join(f"{key} {value}" for key, value in event.fields.items() if key != "boot_id")
    return f"`{event.name}` at {event.at:.1f} s ({about})" if about else f"`{event.name}`"
