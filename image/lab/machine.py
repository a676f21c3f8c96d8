"""A virtual machine that boots a stick under real UEFI firmware and tells what happened in it.

`with Machine(image, arch=..., lab=lab) as vm: vm.until("target.report")`. What happened is read
as typed events from the guest's port `org.phase_boot.events`; the console goes to a file for
people and is never looked into. Every machine has a deadline. When the block ends with an error,
log, journal and disk stay behind in `build/failures/<name>`, and the error says so.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from image.lab import power_loss
from image.lab.disk_image import DiskImage
from image.lab.guest_events import Event, LineReader, Unreadable
from image.lab.network import Lab, LabError, Nic
from image.lab.qemu_args import QEMU_PLATFORMS, WRITES, Hardware, arguments
from image.lab.qmp import Qmp, QmpError
from image.lab.serial_input import type_keys
from image.lab.vm_disks import VmDisks

FAILURES: Final = Path("build/failures")
INTERNET: Final = "internet"
BEFORE: Final = "before.img"
DUMP_SECONDS: Final = 120.0
_CREDENTIALS: Final = struct.Struct("3i")


class MachineFailed(RuntimeError):
    """The guest did not do in time what was waited for."""


class Machine:
    """A guest booting its own copy of `image`; or a VmDisks, which it changes and which stays.

    `mode` names the loader entry, `cmdline` is appended to its options, `deadline` in seconds of
    life; a VmDisks without either boots as it is. `cut` says at which event the power is cut.
    `started` is when QEMU was started, by the host's monotonic clock.
    """

    def __init__(  # noqa: PLR0913 - the knobs of a machine, all by keyword
        self,
        image: Path | VmDisks,
        *,
        hardware: Hardware,
        lab: Lab,
        name: str = "",
        mode: str = "",
        cmdline: str = "",
        deadline: float = 900.0,
        watch: Callable[[Event], None] | None = None,
        cut: Callable[[Event], bool] | None = None,
        failures: Path = FAILURES,
    ) -> None:
        self.name = name or f"{hardware.arch}-{mode or INTERNET}"
        self.hardware = hardware
        self.unreadable: list[Unreadable] = []
        self.started = 0.0
        self.durable: VmDisks
        self.nic: Nic
        self.kept = failures.absolute() / self.name
        self.folder = Path()
        self._image, self._lab, self._mode, self._cmdline = image, lab, mode, cmdline
        self._deadline = deadline
        self._watch, self._cut = watch, cut
        self._last: Event | None = None
        self._resets: list[float] = []
        self._events: list[Event] = []
        self._news = threading.Condition()
        self._over = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._reader = threading.Thread(target=self._read, name=f"events of {self.name}")
        self._counter: threading.Thread | None = None
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

    def named(self, name: str, *, boot: int | None = None) -> list[Event]:
        """Every event so far of that name; of that boot only, where one is given."""
        return [event for event in self.events if event.name == name and self._is_of(event, boot)]

    @property
    def boots(self) -> int:
        """How often its firmware has started: once, and once more for every reset."""
        with self._news:
            return 1 + len(self._resets)

    def boot_of(self, event: Event) -> int:
        """Which boot `event` belongs to, from 1; a jump into another kernel begins no new one."""
        with self._news:
            return 1 + sum(reset < event.kernel_started for reset in self._resets)

    def _is_of(self, event: Event, boot: int | None) -> bool:
        return boot is None or self.boot_of(event) == boot

    def until(
        self,
        name: str,
        *,
        timeout: float,
        unless: Sequence[str] = (),
        where: Callable[[Event], bool] = lambda _event: True,
        boot: int | None = None,
    ) -> Event:
        """Wait for the first event `name` (past ones count) that fits `where`, of that boot or any.

        Raises MachineFailed after `timeout` seconds, when the machine ends, or as soon as the
        guest says, in that boot, one of the events named in `unless`.
        """
        give_up = time.monotonic() + timeout
        with self._news:
            seen = 0
            while True:
                for event in self._events[seen:]:
                    if not self._is_of(event, boot):
                        continue
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

    def until_cut(self, *, timeout: float) -> Event:
        """Wait until the power was cut, and return the event at which it was.

        Raises MachineFailed when it was not within `timeout` seconds, or the machine ended before.
        """
        self._reader.join(timeout)
        if self._last is None:
            why = self._over or f"not within {timeout:g} s"
            raise MachineFailed(f"{self.name}: its power was not cut: {why}. {self._heard()}")
        return self._last

    def ask(self, path: str, *, port: int = 80, timeout: float = 60.0) -> bytes:
        """What the guest serves as `path` over HTTP, at the address that the lab gave it.

        Raises MachineFailed when it has not answered within `timeout` seconds.
        """
        give_up = time.monotonic() + timeout
        reason = "it asked for no address"
        while time.monotonic() < give_up:
            address = self._lab.leases().get(self.nic.mac)
            if address:
                try:
                    return self._lab.fetch(f"http://{address}:{port}{path}")
                except LabError as error:
                    reason = str(error)
            time.sleep(0.25)
        raise MachineFailed(f"{self.name} does not serve {path}: {reason}")

    @property
    def stick(self) -> DiskImage:
        """The stick that it boots from."""
        return self.durable.stick

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
        type_keys(self.folder / "console.sock", text)

    def memory(self, path: Path) -> None:
        """Write everything that its memory holds now to `path`; it stands still meanwhile.

        Raises QmpError where QEMU cannot.
        """
        with Qmp(self.folder / "qmp.sock", timeout=DUMP_SECONDS) as qmp:
            target = {"paging": False, "protocol": f"file:{path.absolute()}"}
            qmp.ask("dump-guest-memory", target)

    def kill(self) -> None:
        """Cut its power: QEMU gets no chance to do anything more.

        What the guest itself still held in its page cache is lost, as is what was on its way. What
        its disk had taken is on the stick, flushed or not, for QEMU hands it to the host's kernel
        at once, which lives on; a real stick may lose of that what it was not told to flush, and
        so does this one where the hardware `forgets`. The firmware's variables lose nothing.
        """
        self._timer.cancel()
        if self._pid and self.running:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(10)
        before, log = self.folder / BEFORE, self.folder / WRITES
        if before.exists():
            power_loss.cut(before, log, self.durable.disk, forgets=self.hardware.forgets)
        if threading.current_thread() is not self._reader:
            self._join()

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
        self._join()

    # -- inside --------------------------------------------------------------------------------

    def _prepare(self) -> None:
        board = QEMU_PLATFORMS[self.hardware.arch]
        for file in (board.code, board.vars):
            if not file.exists():
                raise MachineFailed(f"{file} is not here; install the package {board.package}.")
        if isinstance(self._image, VmDisks):
            self.durable = self._image
        else:
            self.durable = VmDisks.fresh(self._image, board.vars, self.folder)
        if self._mode or self._cmdline or not isinstance(self._image, VmDisks):
            self.durable.stick.choose(self._mode or INTERNET, cmdline=self._cmdline)
        if self.hardware.forgets:
            power_loss.prepare(self.durable.disk, self.folder / BEFORE, self.folder / WRITES)
        self.nic = self._lab.nic()
        self._port.bind(str(self.folder / "events.sock"))
        self._port.listen(1)

    def _start(self) -> None:
        argv = arguments(self.hardware, self.durable, self.folder, self.nic)
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
        # Whoever called is QEMU; the process that we started only brings it into the lab.
        (self._pid, *_) = _CREDENTIALS.unpack(
            stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        self._counter = threading.Thread(
            target=self._count,
            args=[Qmp(self.folder / "resets.sock")],
            name=f"resets of {self.name}",
        )
        self._counter.start()
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

    def _count(self, qmp: Qmp) -> None:
        with qmp:
            for report in qmp.reports():
                if report == "RESET":
                    with self._news:
                        self._resets.append(time.monotonic())
                        self._news.notify_all()

    def _join(self) -> None:
        for thread in (self._reader, self._counter):
            if thread is not None and thread.is_alive():
                thread.join(10)

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
        if self._cut is not None and self._last is None and self._cut(event):
            self.kill()
            self._last = event
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
