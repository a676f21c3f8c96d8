"""Pack an initramfs: busybox, the init script and the modules that it loads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from image.file_tree import list_files
from image.tools import Tool, run
from phase_boot.handoff.cpio import Entry, archive

APPLETS: Final = (
    "awk",
    "basename",
    "cat",
    "cut",
    "echo",
    "grep",
    "head",
    "hexdump",
    "kill",
    "ln",
    "losetup",
    "ls",
    "mkdir",
    "modprobe",
    "mount",
    "mv",
    "poweroff",
    "readlink",
    "reboot",
    "rm",
    "sed",
    "setsid",
    "sh",
    "sha256sum",
    "sleep",
    "switch_root",
    "sync",
    "tail",
    "tr",
    "umount",
    "uname",
)
FOLDERS: Final = ("bin", "cache", "dev", "proc", "sys", "run", "root", "ro", "rw", "usr", "usr/lib")
LEFT_OUT: Final = (".builtin.modinfo", ".bin")
"""Suffixes of depmod's files that busybox's modprobe does not read."""


def pack(busybox: Path, init: Path, devices: Path, modules: Path, out: Path) -> None:
    """Write a zstd-compressed archive to ``out``; equal inputs give equal bytes.

    Args:
        busybox: the static busybox.
        init: the init script.
        devices: the shell functions that it sources.
        modules: a root with the modules.
        out: the file to create.
    """
    plain = out.with_name(out.name + ".cpio")
    scripts = {"init": init.read_bytes(), devices.name: devices.read_bytes()}
    plain.write_bytes(archive(entries(busybox.read_bytes(), scripts, modules)))
    run(Tool.ZSTD, "-19", "--single-thread", "--quiet", "--force", plain, "-o", out)
    plain.unlink()


def entries(busybox: bytes, scripts: Mapping[str, bytes], modules: Path) -> Iterable[Entry]:
    """Yield the members of the archive, folders first."""
    files = [path for path in list_files(modules) if not path.endswith(LEFT_OUT)]
    parents = {str(parent) for path in files for parent in Path(path).parents} - {"."}
    for folder in sorted({*FOLDERS, *parents}):
        yield Entry.folder(folder)
    yield Entry.char_device("dev/console", 5, 1)
    yield Entry.link("lib", "usr/lib")
    yield Entry.link("sbin", "bin")
    yield Entry.file("bin/busybox", busybox, mode=0o755)
    for applet in sorted(APPLETS):
        yield Entry.link(f"bin/{applet}", "busybox")
    for name, content in sorted(scripts.items()):
        yield Entry.file(name, content, mode=0o755)
    for path in files:
        yield Entry.file(path, (modules / path).read_bytes())
