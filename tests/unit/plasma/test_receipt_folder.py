"""The receipts of a machine: bounded, written whole, and no obstacle to a boot."""

from __future__ import annotations

import errno
import os
import resource
import signal
from pathlib import Path

import pytest

from phase_boot.plasma.errors import PlasmaError
from phase_boot.plasma.receipt_folder import ReceiptFolder
from phase_boot.safefs.beneath import read_regular
from phase_boot.trust.receipt import Receipt, sign_receipt
from phase_boot.trust.refusals import ReceiptBadSignature
from tests.support.receipts import NODE, receipt


def made(fuel: int) -> bytes:
    return sign_receipt(NODE, receipt(fuel=fuel))


def fuels(folder: ReceiptFolder) -> list[int]:
    return [entry.result.fuel for entry in folder.entries() if isinstance(entry.result, Receipt)]


def test_receipts_are_kept_in_their_order(tmp_path: Path) -> None:
    folder = ReceiptFolder(tmp_path / "plasma" / "receipts")
    paths = [folder.add(made(number)) for number in (3, 1, 2)]
    assert [path.name[:9] for path in paths] == ["00000001-", "00000002-", "00000003-"]
    assert paths[0].read_bytes() == made(3)
    assert fuels(folder) == [3, 1, 2]
    assert fuels(ReceiptFolder(tmp_path / "plasma" / "receipts")) == [3, 1, 2]


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    folder = ReceiptFolder(tmp_path, max_receipts=3)
    for number in range(5):
        folder.add(made(number))
    assert fuels(folder) == [2, 3, 4]
    assert folder.add(made(9)).name.startswith("00000006-")


def test_the_oldest_go_when_they_take_too_much(tmp_path: Path) -> None:
    folder = ReceiptFolder(tmp_path, max_total_bytes=len(made(0)) * 2)
    for number in range(4):
        folder.add(made(number))
    assert fuels(folder) == [2, 3]
    tight = ReceiptFolder(tmp_path, max_total_bytes=1)
    tight.add(made(7))
    assert fuels(tight) == [7]


def test_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".receipt.new").write_text('{"half')
    folder = ReceiptFolder(tmp_path)
    assert fuels(folder) == []
    folder.add(made(1))
    assert len(list(tmp_path.iterdir())) == 1


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("README", "00000001.json", "00000001-xyz.json", "x00000001-0123456789abcdef.json"):
        (tmp_path / name).touch()
    ReceiptFolder(tmp_path, max_receipts=1).add(made(1))
    assert len(list(tmp_path.iterdir())) == 5


def test_a_changed_receipt_is_listed_with_its_refusal(tmp_path: Path) -> None:
    folder = ReceiptFolder(tmp_path)
    path = folder.add(made(1))
    folder.add(made(2))
    path.write_bytes(made(1).replace(b'"fuel":1', b'"fuel":3'))
    first, second = folder.entries()
    assert isinstance(first.result, ReceiptBadSignature)
    assert isinstance(second.result, Receipt)


def test_a_disk_that_is_full_is_a_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    folder = ReceiptFolder(tmp_path, max_receipts=2)
    folder.add(made(1))
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(PlasmaError) as refused:
            folder.add(made(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    why = os.strerror(errno.EFBIG)
    assert str(refused.value) == f"The receipt cannot be stored in {tmp_path}: {why}."
    assert fuels(folder) == [1]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_or_read_is_a_clear_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(PlasmaError, match=f"cannot be stored in {file}"):
        ReceiptFolder(file).add(made(1))
    with pytest.raises(PlasmaError, match=r"cannot be read .Not a directory."):
        list(ReceiptFolder(file).entries())
    with pytest.raises(PlasmaError, match=r"cannot be read .No such file"):
        list(ReceiptFolder(tmp_path / "gone").entries())
    # Nothing can be made in /proc, as on a disk that is read-only.
    with pytest.raises(PlasmaError, match="cannot be stored in /proc/receipts"):
        ReceiptFolder(Path("/proc/receipts")).add(made(1))


def test_reading_a_pipe_does_not_block(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="not a plain file"):
        read_regular(pipe, 100)
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert read_regular(tmp_path / "file", 10) == b"x" * 11
