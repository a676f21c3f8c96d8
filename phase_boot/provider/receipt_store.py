"""Store of the receipts that booted machines post: verified on arrival, bounded in number."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from phase_boot.content.digest import Digest
from phase_boot.provider.addresses import UNKNOWN, ClientAddress, client_address
from phase_boot.provider.backends.backend import open_if_regular
from phase_boot.provider.eviction import Entry, victim
from phase_boot.provider.limits import Limits
from phase_boot.safefs.atomic import PUBLIC, make_folders, replace
from phase_boot.store.layout import RECEIPTS, kept_manifest_path
from phase_boot.trust.claims import ReceiptContradicted, check_claims, check_same_node
from phase_boot.trust.keys import KEYID_PREFIX
from phase_boot.trust.manifest import Manifest, signed_bytes
from phase_boot.trust.receipt import MAX_BYTES, Receipt, read_receipt
from phase_boot.trust.refusals import Refusal
from phase_boot.trust.strict_json import MAX_BYTES as MAX_DOCUMENT
from phase_boot.trust.strict_json import read_document
from policies.model import Mode

NETWORKS: Final = ".networks.json"
"""File in the receipts folder: the client network of each node's first receipt."""
MAX_NETWORKS: Final = 1 << 20
"""Bytes of that file."""
_MAX_TIME: Final = 1e11
"""Upper bound of a file time, in seconds since 1970."""
_TEMPORARY: Final = ".new"
"""Name of a file of any folder while it is written; the next write reclaims it after a crash."""


class ReceiptRejected(Exception):
    """A receipt is rejected; ``str`` is one sentence with the way out.

    Attributes:
        code: machine-readable reason.
        full: whether the SITE has no room, and the receipt may be valid.
    """

    def __init__(self, sentence: str, *, code: str, full: bool = False) -> None:
        super().__init__(sentence)
        self.code = code
        self.full = full


@dataclass(frozen=True, slots=True)
class StoredReceipt:
    """A stored receipt, and whether it was stored before."""

    receipt: Receipt
    path: Path
    known: bool


class ReceiptStore:
    """The receipts of a SITE. Its methods block; one provider at a time may add."""

    def __init__(self, root: Path, limits: Limits) -> None:
        self._root = root
        self._folder = root / RECEIPTS
        self._limits = limits
        self._lock = threading.Lock()

    def add(self, raw: bytes, address: str) -> StoredReceipt:
        """Store a receipt from ``address`` whose claims agree with a manifest of this SITE.

        Only the newest receipts of a node are kept. The nodes of one address are bounded. In a
        full folder the address with the most nodes loses one to a node from another address.

        Raises:
            ReceiptRejected: it is invalid, of another publisher's version, or there is no room.
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
                self._make_room(node, client_address(address).network)
                self._write(path, raw)
                self._prune(folder, path)
            except OSError as error:
                raise ReceiptRejected(
                    f"The SITE cannot store the receipt ({error.strerror}): check its disk.",
                    code="receipt.no-room",
                    full=True,
                ) from error
        return StoredReceipt(receipt, path, known=False)

    def _verify(self, raw: bytes) -> Receipt:
        """Return the receipt after verifying its signature and every checkable claim.

        Raises:
            ReceiptRejected: one of them is invalid.
        """
        try:
            receipt = read_receipt(raw)
            manifest = self._published_manifest(receipt)
            if manifest is None:
                raise ReceiptRejected(
                    "This SITE published no manifest with the digest in the receipt: "
                    "upload the receipt to the SITE that the machine booted from.",
                    code="receipt.unknown-manifest",
                )
            check_claims(receipt, Manifest.of(manifest), Digest.of(signed_bytes(manifest)))
            if receipt.mode == Mode.PRIVATE:
                raise ReceiptContradicted(
                    field="mode", found=receipt.mode, reason="Private machines upload no receipts"
                )
        except Refusal as refusal:
            raise ReceiptRejected(str(refusal), code=refusal.code) from None
        return receipt

    def _published_manifest(self, receipt: Receipt) -> Mapping[str, object] | None:
        """Return the published manifest that the receipt names, or None.

        Raises:
            Refusal: the stored file is not a valid document.
        """
        booted = receipt.booted
        if booted is None:
            return None
        kept = kept_manifest_path(booted.channel, receipt.arch, booted.manifest)
        file = open_if_regular(self._root, kept)
        if file is None:
            return None
        with file:
            return read_document(file.read(MAX_DOCUMENT + 1))

    def _check_node(self, folder: Path, receipt: Receipt) -> None:
        """Compare the receipt with an earlier one of its node.

        Raises:
            ReceiptRejected: the two contradict each other.
            OSError: the disk failed.
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
            # `phase-boot receipts` reports the invalid file; it does not affect the new receipt.
            return

    def _make_room(self, node: str, network: str) -> None:
        """Record the network of a new node, and evict another node if the folder is full.

        Raises:
            ReceiptRejected: no node may be evicted for this one.
            OSError: the disk failed.
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
                    ClientAddress(networks[name], networks[name]),
                    idle=False,
                    rank=_eviction_rank(folder),
                )
                for name, folder in nodes.items()
            ]
            evicted = victim(entries, ClientAddress(network, network), same_network=crowded)
            if evicted is None:
                raise ReceiptRejected(
                    f"The SITE has receipts of {len(nodes)} nodes already, {mine} of them from "
                    f"this address, and stores no more: move some out of its folder {RECEIPTS}.",
                    code="receipt.no-room",
                    full=True,
                )
            # All entries: a crash may have left a temporary file.
            for path in nodes[evicted].iterdir():
                path.unlink()
            nodes[evicted].rmdir()
            del networks[evicted]
        networks[node] = network
        self._write(self._folder / NETWORKS, json.dumps(networks, sort_keys=True).encode())

    def _networks(self) -> Mapping[str, str]:
        """Return the network of each node's first receipt, where known."""
        file = open_if_regular(self._root, f"{RECEIPTS}/{NETWORKS}")
        if file is None:
            return {}
        with file:
            raw = file.read(MAX_NETWORKS + 1)
        try:
            table = json.loads(raw) if len(raw) <= MAX_NETWORKS else {}
        except (ValueError, RecursionError):
            table = {}
        # Nodes missing here count as of an unknown network, which has limits too.
        return {str(k): str(v) for k, v in table.items()} if isinstance(table, dict) else {}

    def _write(self, path: Path, raw: bytes) -> None:
        """Write a file atomically and durably."""
        make_folders(path.parent)
        replace(path, raw, PUBLIC, temporary=_TEMPORARY)

    def _prune(self, folder: Path, added: Path) -> None:
        """Remove the oldest receipts of a node beyond `Limits.receipts_per_node`."""
        others = [path for path in _visible_entries(folder) if path != added]
        others.sort(key=lambda path: path.stat().st_mtime_ns)
        for path in others[: max(0, len(others) + 1 - self._limits.receipts_per_node)]:
            path.unlink(missing_ok=True)


def _visible_entries(folder: Path) -> Iterator[Path]:
    """Yield the entries of a folder, except for temporary files."""
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if not path.name.startswith("."))


def _eviction_rank(folder: Path) -> float:
    """Return the rank of a node for eviction: fewest receipts first, then the one added last."""
    count = sum(1 for _ in _visible_entries(folder))
    return count - folder.stat().st_mtime / _MAX_TIME
