"""Keeping the receipts that booted machines hand in: each checked first, all of them bounded."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from phase_boot.content.digest import Digest
from phase_boot.provider.addresses import UNKNOWN, Origin, origin_of
from phase_boot.provider.backend import open_regular
from phase_boot.provider.eviction import Entry, victim
from phase_boot.provider.limits import Limits
from phase_boot.store.layout import RECEIPTS, kept_manifest_path
from phase_boot.trust.claims import ReceiptContradicted, check_claims, check_same_node
from phase_boot.trust.document import MAX_BYTES as MAX_DOCUMENT
from phase_boot.trust.document import read_document
from phase_boot.trust.keys import KEYID_PREFIX
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.receipt import MAX_BYTES, Receipt, read_receipt
from phase_boot.trust.refusals import Refusal
from policies.model import Mode

NETWORKS: Final = ".networks.json"
"""In the folder of receipts: the client network that each node's first receipt came from."""
MAX_NETWORKS: Final = 1 << 20
"""Bytes of it."""
_MAX_TIME: Final = 1e11
"""Seconds since 1970 that no file is as new as."""
_CREATE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_FILE_MODE: Final = 0o644


class ReceiptRejected(Exception):
    """A receipt is not taken; ``str`` is one sentence with the way out.

    Attributes:
        code: what a program goes by.
        full: whether it is the SITE's fault and not the receipt's.
    """

    def __init__(self, sentence: str, *, code: str, full: bool = False) -> None:
        super().__init__(sentence)
        self.code = code
        self.full = full


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """A receipt that stands in the SITE, and whether it did so before."""

    receipt: Receipt
    path: Path
    known: bool


class ReceiptStore:
    """The receipts of a SITE. Its methods block; one provider at a time adds to them."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = root
        self._folder = root / RECEIPTS
        self._limits = limits
        self._lock = threading.Lock()

    def add(self, raw: bytes, address: str) -> StoredReceipt:
        """Keep a receipt from ``address`` whose claims agree with a manifest of this SITE.

        Of one node only the newest receipts are kept. The nodes of one address are bounded. In a
        full folder the address with the most nodes loses one to a node from another address.

        Raises:
            NotKept: it is not believed, is of another publisher's version, or there is no room.
        """
        receipt = self._verify(raw)
        node = receipt.node.removeprefix(KEYID_PREFIX)
        folder = self._folder / node
        path = folder / f"{Digest.of(raw).hex}.json"
        with self._lock:
            if path.exists():
                return StoredReceipt(receipt, path, known=True)
            try:
                self._check_node(folder, receipt)
                self._make_room(node, origin_of(address).network)
                self._write(path, raw)
                self._prune(folder, path)
            except OSError as error:
                raise ReceiptRejected(
                    f"The SITE cannot keep it ({error.strerror}): see to its disk.",
                    code="receipt.no-room",
                    full=True,
                ) from error
        return StoredReceipt(receipt, path, known=False)

    def _verify(self, raw: bytes) -> Receipt:
        """Return the receipt, once its signature and each claim that can be checked are.

        Raises:
            NotKept: one of them is not good.
        """
        try:
            receipt = read_receipt(raw)
            manifest = self._published_manifest(receipt)
            if manifest is None:
                raise ReceiptRejected(
                    "The receipt is of no boot of a version that this SITE published: "
                    "hand it in where that machine was booted from.",
                    code="receipt.unknown-manifest",
                )
            check_claims(receipt, Manifest.of(manifest), Digest.of(signed_bytes(manifest)))
            if receipt.mode == Mode.PRIVATE:
                raise ReceiptContradicted(
                    field="mode", found=receipt.mode, reason="that mode hands nothing in"
                )
        except Refusal as refusal:
            raise ReceiptRejected(str(refusal), code=refusal.code) from None
        return receipt

    def _published_manifest(self, receipt: Receipt) -> Mapping[str, object] | None:
        """Return the manifest that the receipt names, as this SITE published it, or None.

        Raises:
            Refusal: what the SITE keeps in its place is no manifest.
        """
        booted = receipt.booted
        if booted is None:
            return None
        kept = kept_manifest_path(booted.channel, receipt.arch, booted.manifest)
        file = open_regular(self._root, kept)
        if file is None:
            return None
        with file:
            return read_document(file.read(MAX_DOCUMENT + 1))

    def _check_node(self, folder: Path, receipt: Receipt) -> None:
        """Compare the receipt with one of those that its node handed in before.

        Raises:
            NotKept: both cannot be true.
            OSError: the disk refuses.
        """
        kept = next(_visible_entries(folder), None)
        if kept is None:
            return
        try:
            with kept.open("rb") as file:
                check_same_node(receipt, read_receipt(file.read(MAX_BYTES + 1)))
        except ReceiptContradicted as refusal:
            raise ReceiptRejected(str(refusal), code=refusal.code) from None
        except Refusal:
            # `phase-boot receipts` names it; here it says nothing about the new one.
            return

    def _make_room(self, node: str, network: str) -> None:
        """Note where a new node is from, and remove another one where there is no room for it.

        Raises:
            NotKept: no node may be removed for this one.
            OSError: the disk refuses.
        """
        nodes = {folder.name: folder for folder in _visible_entries(self._folder)}
        if node in nodes:
            return
        networks = {name: self._networks().get(name, UNKNOWN) for name in nodes}
        limits = self._limits
        mine = sum(each == network for each in networks.values())
        if mine >= limits.nodes_per_address or len(nodes) >= limits.nodes:
            crowded = mine >= limits.nodes_per_address
            entries = [
                Entry(
                    name,
                    Origin(networks[name], networks[name]),
                    idle=False,
                    rank=_eviction_rank(folder),
                )
                for name, folder in nodes.items()
            ]
            evicted = victim(entries, Origin(network, network), same_network=crowded)
            if evicted is None:
                raise ReceiptRejected(
                    f"The SITE has receipts of {len(nodes)} nodes already, {mine} of them from "
                    f"this address, and takes no more: move some out of its folder {RECEIPTS}.",
                    code="receipt.no-room",
                    full=True,
                )
            for path in _visible_entries(nodes[evicted]):
                path.unlink()
            nodes[evicted].rmdir()
            del networks[evicted]
        networks[node] = network
        self._write(self._folder / NETWORKS, json.dumps(networks, sort_keys=True).encode())

    def _networks(self) -> Mapping[str, str]:
        """Return the network that each node's first receipt came from, as far as it is known."""
        file = open_regular(self._root, f"{RECEIPTS}/{NETWORKS}")
        if file is None:
            return {}
        with file:
            raw = file.read(MAX_NETWORKS + 1)
        try:
            table = json.loads(raw) if len(raw) <= MAX_NETWORKS else {}
        except (ValueError, RecursionError):
            table = {}
        # What is lost here makes nodes of an unknown network, which have limits too.
        return {str(k): str(v) for k, v in table.items()} if isinstance(table, dict) else {}

    def _write(self, path: Path, raw: bytes) -> None:
        """Put a receipt in its place, all at once."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._folder / f".{path.name.removeprefix('.')}.new"
        temporary.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(temporary, _CREATE_FLAGS, _FILE_MODE), "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def _prune(self, folder: Path, added: Path) -> None:
        """Remove the oldest receipts of a node beyond as many as are kept of one."""
        others = [path for path in _visible_entries(folder) if path != added]
        others.sort(key=lambda path: path.stat().st_mtime_ns)
        for path in others[: max(0, len(others) + 1 - self._limits.receipts_per_node)]:
            path.unlink(missing_ok=True)


def _visible_entries(folder: Path) -> Iterator[Path]:
    """Yield what stands in a folder, but for what is being made there."""
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if not path.name.startswith("."))


def _eviction_rank(folder: Path) -> float:
    """Return the rank of a node for eviction: fewest receipts first, then the one added last."""
    count = sum(1 for _ in _visible_entries(folder))
    return count - folder.stat().st_mtime / _MAX_TIME
