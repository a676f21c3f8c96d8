"""Identification of kernel files by format; other input is refused."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phase_boot.content.arch import Arch
from phase_boot.content.artifact import Artifact
from phase_boot.content.digest import Digest
from phase_boot.drill.memory_disk import MemoryDisk
from phase_boot.drill.sample_kernel import ARM64, I386, bzimage, pe
from phase_boot.handoff.kernel import HEAD, MAX_UNPACKED, Format, Kernel, UnknownKernel, inspect
from phase_boot.handoff.unpack import kernel_bytes
from phase_boot.store.content_store import ContentStore, VerifiedFile
from tests.support.examples import examples
from tests.support.kernels import arm64_image, gzipped, uki, zboot

IMAGE = arm64_image(b"Image" * 5000)
KNOWN = {
    "bzImage": (bzimage(), Format.BZIMAGE, Arch.AMD64, True, True),
    "bzImage without a stub": (bzimage(stub=False), Format.BZIMAGE, Arch.AMD64, True, False),
    "Image": (IMAGE, Format.IMAGE, Arch.ARM64, True, True),
    "Image without a stub": (arm64_image(stub=False), Format.IMAGE, Arch.ARM64, True, False),
    "gzip": (gzipped(IMAGE), Format.GZIP, Arch.ARM64, True, True),
    "zboot gzip": (zboot(IMAGE), Format.ZBOOT, Arch.ARM64, True, True),
    "zboot zstd": (zboot(b"?", packing=b"zstd22"), Format.ZBOOT, Arch.ARM64, False, True),
    "uki amd64": (uki(), Format.UKI, Arch.AMD64, False, True),
    "uki arm64": (uki(ARM64), Format.UKI, Arch.ARM64, False, True),
    "program": (pe(), Format.EFI, Arch.AMD64, False, True),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_kernel_is_called_by_its_name(name: str) -> None:
    head, form, arch, by_kexec, by_firmware = KNOWN[name]
    found = inspect(head[:HEAD])
    assert (found.format, found.arch) == (form, arch)
    assert (found.by_kexec, found.by_firmware) == (by_kexec, by_firmware)


def test_a_bzimage_has_its_version() -> None:
    assert inspect(bzimage()).version == "6.12.1-phase"


@pytest.mark.parametrize("make", [bzimage, uki], ids=["bzImage", "uki"])
def test_a_signed_and_an_unsigned_image_are_distinguished(make: Callable[..., bytes]) -> None:
    assert inspect(make(signed=True)).signed
    assert not inspect(make()).signed


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", "no kernel at all"),
        (b"\x7fELF" + bytes(999), "ELF"),
        (b"\xfd7zXZ\0" + bytes(99), "xz"),
        (b"\x28\xb5\x2f\xfd" + bytes(99), "zstd"),
        (b"hsqs" + bytes(999), "squashfs"),
        (gzipped(b"not a kernel" * 99), "no arm64 Image in it"),
        (gzipped(bzimage()), "no arm64 Image in it"),
        (zboot(b"not a kernel" * 99), "no arm64 Image in it"),
        (bzimage(old=True), "32-bit"),
        (pe(I386), "other processors (PE machine 0x014c)"),
        (pe(subsystem=3), "another system than the firmware"),
        (zboot(b"?", packing=b"\xff\xff"), "does not say how it is packed"),
        (gzipped(arm64_image(size=1 << 40)), "wants 1048576 MiB for itself"),
        (gzipped(arm64_image(size=0)), "wants 0 MiB"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_a_file_that_no_kernel_loader_starts_is_refused_by_its_format(
    head: bytes, message: str
) -> None:
    with pytest.raises(UnknownKernel) as caught:
        inspect(head)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", KNOWN)
def test_a_truncated_header_is_refused_or_identified(name: str) -> None:
    head = KNOWN[name][0]
    for length in range(min(len(head), 1200)):
        outcome(head[:length])


def outcome(head: bytes) -> Kernel | None:
    """Inspect, and let nothing pass but the two results that are documented."""
    found, message = None, ""
    try:
        found = inspect(head)
    except UnknownKernel as unknown:
        message = str(unknown)
    assert len(message) < 100
    assert message.isprintable()
    if found is None:
        return None
    assert isinstance(found, Kernel)
    assert str(found).isprintable()
    assert found.packed is None or 0 < found.packed.unpacked <= MAX_UNPACKED
    return found


@given(st.binary(max_size=2048))
def test_any_bytes_are_identified_or_refused(head: bytes) -> None:
    outcome(head)


@settings(max_examples=examples(100))
@given(
    name=st.sampled_from(sorted(KNOWN)),
    changes=st.lists(st.tuples(st.integers(0, 1100), st.integers(0, 255)), max_size=12),
    words=st.lists(
        st.tuples(
            st.sampled_from([8, 12, 16, 0x3C, 0x40, 0x44, 0x46, 0x54, 0x58, 0x206, 0x20E, 0x236]),
            st.sampled_from([0, 1, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]),
        ),
        max_size=3,
    ),
)
def test_a_false_header_is_identified_or_refused(
    name: str, changes: list[tuple[int, int]], words: list[tuple[int, int]]
) -> None:
    head = bytearray(KNOWN[name][0])
    for offset, value in changes:
        head[offset % len(head)] = value
    for offset, value in words:
        if offset + 4 <= len(head):
            struct.pack_into("<I", head, offset, value)
    outcome(bytes(head))


# ---- unpacking ----------------------------------------------------------------------------------


def fetched(data: bytes) -> VerifiedFile:
    cas = ContentStore(MemoryDisk(), bound=1 << 24)
    artifact = Artifact("kernel", Digest.of(data), len(data))
    with cas.stream_writer(artifact) as writer:
        writer.write(data)
        writer.commit()
    return cas.open(artifact)


def started(data: bytes) -> bytes:
    return b"".join(kernel_bytes(fetched(data), inspect(data[:HEAD])))


@pytest.mark.parametrize("packed", [gzipped, zboot])
def test_a_packed_kernel_is_unpacked_to_what_was_packed(packed: Callable[[bytes], bytes]) -> None:
    noise = random.Random(7).randbytes(700_000)  # noqa: S311 - bytes that do not pack
    inner = arm64_image(noise)
    assert started(packed(inner)) == inner


def test_a_kernel_that_is_not_packed_is_started_as_it_is() -> None:
    assert started(bzimage(b"x" * 3_000_000)) == bzimage(b"x" * 3_000_000)


def test_a_decompression_bomb_is_read_no_further_than_its_stated_size() -> None:
    bomb = gzipped(arm64_image(bytes(8 << 20), size=1 << 20))
    sizes: list[int] = []
    with pytest.raises(UnknownKernel, match="more than its header says"):
        sizes.extend(len(piece) for piece in kernel_bytes(fetched(bomb), inspect(bomb)))
    assert sum(sizes) <= 1 << 20


def test_a_packed_kernel_that_breaks_off_is_refused() -> None:
    noise = random.Random(7).randbytes(70_000)  # noqa: S311 - bytes that do not pack
    torn = gzipped(arm64_image(noise))[:-20_000]
    with pytest.raises(UnknownKernel, match="breaks off"):
        started(torn)
