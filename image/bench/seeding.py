"""A SITE made for measuring: artifacts of a given size, in chunks, under a manifest signed here."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from phase_boot.drill.kernels import bzimage
from phase_boot.publish.signing import signed
from phase_boot.store.chunks import ChunkList
from phase_boot.store.digest import Digest
from phase_boot.store.layout import entry_path, manifest_path
from phase_boot.store.tree import plant
from phase_boot.trust.arch import Arch
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.manifest import signed_bytes
from policies.model import Mode
from policies.write import chosen, with_site

CHANNEL: Final = "bench"
CHUNK: Final = 16 * 1024
"""Bytes of a chunk: as many as those that are cut by content have on average."""
PIECE: Final = 1 << 20
KEY: Final = SigningKey(b"\x07" * 32)


@dataclass(frozen=True, slots=True)
class Seeded:
    """A SITE, a policy that trusts it, and the rootfs in it."""

    site: Path
    policy: Path
    digest: Digest
    size: int

    @property
    def rootfs(self) -> str:
        """Where the rootfs is below the SITE."""
        return entry_path(self.digest)


def seed(folder: Path, mib: int, mirrors: tuple[str, ...]) -> Seeded:
    """Make a SITE with a rootfs of ``mib`` MiB that nobody can compress."""
    site, arch = folder / "site", Arch.parse(os.uname().machine)
    (site / "cas/sha256").mkdir(parents=True, exist_ok=True)
    (site / "dag").mkdir(exist_ok=True)
    digest, chunks = _rootfs(site, mib)
    small = {"kernel": bzimage(b"bench"), "initramfs": b"initramfs"}
    for data in small.values():
        (site / entry_path(Digest.of(data))).write_bytes(data)
    tree = plant(chunks)
    (site / f"dag/{tree.root}.car").write_bytes(b"".join(tree.car()))
    now = datetime.now(UTC).replace(microsecond=0)
    artifacts = {name: str(Digest.of(data)) for name, data in small.items()}
    document = {
        "version": "1",
        "channel": CHANNEL,
        "arch": str(arch),
        "artifacts": {**artifacts, "rootfs": str(digest)},
        "sizes": {**{name: len(data) for name, data in small.items()}, "rootfs": mib * PIECE},
        "issued": (now - timedelta(hours=1)).isoformat().replace("+00:00", "Z"),
        "expires": (now + timedelta(days=1)).isoformat().replace("+00:00", "Z"),
        "mirrors": list(mirrors),
        "dags": {"rootfs": str(tree.root)},
    }
    place = site / manifest_path(CHANNEL, arch)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(signed(json.loads(json.dumps(document)), signed_bytes(document), [KEY]))
    policy = folder / "policy.toml"
    whom = chosen([KEY.keyid], None, None)
    policy.write_text(with_site(Mode.INTERNET, whom=whom, channel=CHANNEL, urls=()))
    return Seeded(site, policy, digest, mib * PIECE)


def _rootfs(site: Path, mib: int) -> tuple[Digest, ChunkList]:
    """Write random bytes, and return what they hash to, whole and in pieces."""
    whole, chunks, new = hashlib.sha256(), ChunkList(), site / "new"
    with new.open("wb") as file:
        for _ in range(mib):
            piece = os.urandom(PIECE)
            whole.update(piece)
            for at in range(0, PIECE, CHUNK):
                chunks.append(hashlib.sha256(piece[at : at + CHUNK]).digest(), CHUNK)
            file.write(piece)
    digest = Digest(whole.hexdigest())
    new.rename(site / entry_path(digest))
    return digest, chunks
