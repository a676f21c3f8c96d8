"""Read `newc` archives as the kernel does."""

from __future__ import annotations


def unpacked(data: bytes) -> dict[str, bytes]:
    """Return the files of one or more archives in a row; zero bytes between them are skipped."""
    files: dict[str, bytes] = {}
    at = 0
    while at < len(data):
        if data[at : at + 4] == bytes(4):
            at += 4
            continue
        assert data[at : at + 6] == b"070701", data[at : at + 16]
        numbers = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        size, name_size = numbers[6], numbers[11]
        name = data[at + 110 : at + 110 + name_size - 1].decode()
        start = at + 110 + name_size
        start += -start % 4
        if name != "TRAILER!!!":
            assert name not in files or not files[name]
            files[name] = data[start : start + size]
        at = start + size
        at += -at % 4
    return files
