"""A virtual machine that boots a stick under real UEFI firmware, and the events that it sends.

    with Machine(image, hardware=Hardware(arch=arch), lab=lab) as machine:
        machine.wait_for("target.report", timeout=300)

Facts about the boot come as typed events from the guest's port `org.phase_boot.events`. The console
is logged for people, and no test reads it. Every machine has a deadline. When the block ends with
an error, log, journal and disk are kept in `build/failures/NAME`, and the error names that folder.
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
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from image.lab import power_loss
from image.lab.disk_image import DiskImage
from image.lab.event_log import EventLog, MachineFailed
from image.lab.guest_events import Event, LineReader, Unreadable
from image.lab.namespace import LabError
from image.lab.network import Lab, Nic
from image.lab.qemu_args import QEMU_PLATFORMS, WRITE_LOG, Hardware, arguments
from image.lab.qmp import Qmp, QmpError
from image.lab.serial_input import type_keys
from image.lab.vm_disks import VmDisks

FAILURES: Final = Path("build/failures")
INTERNET: Final = "internet"
DISK_AT_START: Final = "before.img"
DUMP_SECONDS: Final = 120.0
START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0
_CREDENTIALS: Final = struct.Struct("3i")


class Machine(EventLog):
    """A virtual machine, on from the start of the `with` block to its end.

    Args:
        image: a stick's image, of which the machine gets a copy of its own; or `VmDisks`, which
            the machine writes to and which remain.
        name: names the folder in `failures`; default: architecture and mode.
        mode: the loader entry to boot. `VmDisks` without `mode` and `cmdline` boot as they are.
        cmdline: is appended to the entry's kernel command line.
        deadline: seconds after which the machine is stopped.
        on_event: is called for each event, in the thread that reads events.
        cut_power_at: the power is cut at the first event for which this returns true.
        failures: the folder for what remains of a failed machine.

    Attributes:
        started: when QEMU was started, in seconds of the host's monotonic clock.
    """

    def __init__(  # noqa: PLR0913 - a machine has many settings, all by keyword
        self,
        image: Path | VmDisks,
        *,
        hardware: Hardware,
        lab: Lab,
        name: str = "",
        mode: str = "",
        cmdline: str = "",
        deadline: float = 900.0,
        on_event: Callable[[Event], None] | None = None,
        cut_power_at: Callable[[Event], bool] | None = None,
        failures: Path = FAILURES,
    ) -> None:
        super().__init__(name or f"{hardware.arch}-{mode or INTERNET}")
        self.hardware = hardware
        self.started = 0.0
        self.disks: VmDisks
        self.nic: Nic
        self.folder = Path()
        self._kept = failures.absolute() / self.name
        self._image, self._lab, self._mode, self._cmdline = image, lab, mode, cmdline
        self._deadline = deadline
        self._on_event, self._cut_power_at = on_event, cut_power_at
        self._cut_event: Event | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._reader = threading.Thread(target=self._read_events, name=f"events of {self.name}")
        self._reset_reader: threading.Thread | None = None
        self._timer = threading.Timer(deadline, self._expire)
        self._port = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="vm-", dir=self._lab.folder))
        try:
            self._prepare()
            self._start()
        except BaseException as error:
            self._clean_up(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._clean_up(error)

    # -- observe -------------------------------------------------------------------------------

    def wait_for_power_cut(self, *, timeout: float) -> Event:
        """Wait until `cut_power_at` cut the power, and return the event at which it did.

        Raises:
            MachineFailed: `timeout` seconds pass, or the machine ends before.
        """
        self._reader.join(timeout)
        if self._cut_event is None:
            why = self._ended or f"not within {timeout:g} s"
            raise MachineFailed(f"{self.name}: no power cut: {why}. {self._last_event()}")
        return self._cut_event

    def http_get(self, path: str, *, port: int = 80, timeout: float = 60.0) -> bytes:
        """Return what the guest serves as `path` over HTTP, at its DHCP address.

        Raises:
            MachineFailed: there is no response within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        reason = "it has no DHCP lease"
        while time.monotonic() < deadline:
            address = self._lab.dhcp_leases().get(self.nic.mac)
            if address:
                try:
                    return self._lab.http_get(f"http://{address}:{port}{path}")
                except LabError as error:
                    reason = str(error)
            time.sleep(0.25)
        raise MachineFailed(f"{self.name} does not serve {path}: {reason}")

    @property
    def stick(self) -> DiskImage:
        """The stick from which the machine boots."""
        return self.disks.stick

    @property
    def running(self) -> bool:
        """Whether the machine is on."""
        return self._process is not None and self._process.poll() is None

    # -- control -------------------------------------------------------------------------------

    def qmp(self) -> Qmp:
        """Connect to QEMU's control socket; the connection is a context manager."""
        return Qmp(self.folder / "qmp.sock")

    def set_link(self, *, up: bool) -> None:
        """Connect the network cable, or disconnect it."""
        with self.qmp() as qmp:
            qmp.execute("set_link", {"name": "net0", "up": up})

    def type(self, text: str) -> None:
        """Type `text` on the serial console, key by key.

        Raises:
            InputBlocked: the guest does not read its console.
        """
        type_keys(self.folder / "console.sock", text)

    def dump_memory(self, path: Path) -> None:
        """Write the guest's memory to `path`; the guest is paused meanwhile.

        Raises:
            QmpError: QEMU fails to.
        """
        with Qmp(self.folder / "qmp.sock", timeout=DUMP_SECONDS) as qmp:
            target = {"paging": False, "protocol": f"file:{path.absolute()}"}
            qmp.execute("dump-guest-memory", target)

    def cut_power(self) -> None:
        """Kill QEMU, so that it finishes nothing.

        Lost are the guest's page cache and all writes in flight. What the disk accepted is on the
        stick, flushed or not, because QEMU hands it to the host's kernel at once. A real stick may
        lose accepted writes that were not flushed, and so does this one with
        `Hardware.lose_unflushed`. The firmware's variables lose nothing.
        """
        self._timer.cancel()
        if self._pid and self.running:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_SECONDS)
        at_start, log = self.folder / DISK_AT_START, self.folder / WRITE_LOG
        if at_start.exists():
            power_loss.replay(at_start, log, self.disks.disk, lose=self.hardware.lose_unflushed)
        if threading.current_thread() is not self._reader:
            self._join_readers()

    def stop(self) -> None:
        """End QEMU without telling the guest, and wait for its end; a second call does nothing."""
        self._timer.cancel()
        process = self._process
        if process is None:
            return
        if self.running:
            with suppress(QmpError), self.qmp() as qmp:
                qmp.execute("quit")
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.terminate()
                process.wait(STOP_SECONDS)
        self._join_readers()

    # -- start and end -------------------------------------------------------------------------

    def _prepare(self) -> None:
        platform = QEMU_PLATFORMS[self.hardware.arch]
        for file in (platform.code, platform.vars):
            if not file.exists():
                raise MachineFailed(f"{file} is missing; install the package {platform.package}.")
        if isinstance(self._image, VmDisks):
            self.disks = self._image
        else:
            self.disks = VmDisks.create(self._image, platform.vars, self.folder)
        if self._mode or self._cmdline or not isinstance(self._image, VmDisks):
            self.disks.stick.select_entry(self._mode or INTERNET, cmdline=self._cmdline)
        if self.hardware.lose_unflushed:
            at_start, log = self.folder / DISK_AT_START, self.folder / WRITE_LOG
            power_loss.start_log(self.disks.disk, at_start, log)
        self.nic = self._lab.add_nic()
        self._port.bind(str(self.folder / "events.sock"))
        self._port.listen(1)

    def _start(self) -> None:
        argv = arguments(self.hardware, self.disks, self.folder, self.nic)
        (self.folder / "command").write_text(" ".join(argv) + "\n")
        with (self.folder / "qemu.log").open("wb") as log:
            self.started = time.monotonic()
            self._process = self._lab.popen(argv, stdout=log, stderr=log)
        self._port.settimeout(START_SECONDS)
        try:
            stream, _ = self._port.accept()
        except TimeoutError as error:
            output = (self.folder / "qemu.log").read_text(errors="replace").strip()
            message = f"{self.name}: QEMU did not start: {output or 'it printed nothing'}."
            raise MachineFailed(message) from error
        finally:
            self._port.close()
        self._port = stream
        self._port.settimeout(None)
        # The peer of this socket is QEMU; `_process` is nsenter, which started it.
        (self._pid, *_) = _CREDENTIALS.unpack(
            stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        self._reset_reader = threading.Thread(
            target=self._read_resets,
            args=[Qmp(self.folder / "resets.sock")],
            name=f"resets of {self.name}",
        )
        self._reset_reader.start()
        self._reader.start()
        self._timer.start()

    def _expire(self) -> None:
        self._record_end(f"its deadline of {self._deadline:g} s is over")
        if self._process is not None:
            self._process.terminate()

    def _clean_up(self, error: BaseException | None) -> None:
        self.stop()
        self._port.close()
        if error is None or isinstance(error, KeyboardInterrupt):
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        place = self.folder
        with suppress(OSError):
            shutil.rmtree(self._kept, ignore_errors=True)
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            place = Path(shutil.move(self.folder, self._kept))
        error.add_note(f"Log, journal and disk of {self.name} are in {place}.")

    # -- reader threads ------------------------------------------------------------------------

    def _read_events(self) -> None:
        lines = LineReader()
        with (self.folder / "events.jsonl").open("ab", buffering=0) as journal:
            while data := self._receive():
                journal.write(data)
                for event in lines.feed(data):
                    self._handle(event)
        self._record_end("the machine ended")

    def _receive(self) -> bytes:
        try:
            return self._port.recv(65536)
        except OSError:
            return b""

    def _handle(self, event: Event | Unreadable) -> None:
        self._record(event)
        if isinstance(event, Unreadable):
            return
        if self._cut_power_at is not None and self._cut_event is None and self._cut_power_at(event):
            self.cut_power()
            self._cut_event = event
        if self._on_event is not None:
            self._on_event(event)

    def _read_resets(self, qmp: Qmp) -> None:
        with qmp:
            for event in qmp.events():
                if event == "RESET":
                    self._record_reset()

    def _join_readers(self) -> None:
        for thread in (self._reader, self._reset_reader):
            if thread is not None and thread.is_alive():
                thread.join(STOP_SECONDS)
