"""Pack an initramfs: busybox, a script, and the modules it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from image.build_cache import ROOT
from image.steps.tree import list_files
from image.tools import Tool, run
from phase_boot.handoff.cpio import Entry, archive

DEVICES: Final = ROOT / "image" / "initramfs" / "devices.sh"
"""The functions that every first script uses."""
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


def pack(busybox: Path, init: Path, modules: Path, out: Path) -> None:
    """Write a zstd-compressed archive to ``out``: the same inputs always give the same bytes."""
    plain = out.with_name(out.name + ".cpio")
    scripts = {"init": init.read_bytes(), DEVICES.name: DEVICES.read_bytes()}
    plain.write_bytes(archive(entries(busybox.read_bytes(), scripts, modules)))
    run(Tool.ZSTD, "-19", "--single-thread", "--quiet", "--force", plain, "-o", out)
    plain.unlink()


def entries(busybox: bytes, scripts: Mapping[str, bytes], modules: Path) -> Iterable[Entry]:
    """Yield the members, folders first."""
    left_out = (".builtin.modinfo", ".bin")
    files = [path for path in list_files(modules) if not path.endswith(left_out)]
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
