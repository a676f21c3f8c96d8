"""Records of the DHT to try things on."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.content.cid import Cid, Codec
from phase_boot.drill.sample_manifest import NOW, PUBLISHER, encoded
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.record import Record, read_record, signed_bytes

MANIFEST: Final = Cid.of(Codec.RAW, b"manifest")


def body(**changes: object) -> dict[str, object]:
    """Return a good record without its signature, some fields changed; None leaves one out."""
    fields: dict[str, object] = {
        "keyid": PUBLISHER.keyid,
        "channel": "stable",
        "arch": "amd64",
        "manifest_cid": str(MANIFEST),
        "mirrors": ["https://mirror.example/boot"],
        "providers": [
            "/ip4/192.0.2.7/tcp/4001/p2p/12D3KooWGzxzKZYveHXtpG6AsrUJBcWxHBFS2HsEoGTxrMLvKXtf"
        ],
        "seq": 7,
        "expires": "2025-11-21T00:00:00Z",
    }
    fields.update(changes)
    return {name: value for name, value in fields.items() if value is not None}


def signed(fields: Mapping[str, object], key: SigningKey = PUBLISHER) -> bytes:
    """Return the record of ``fields`` as the DHT holds it."""
    sig = base64.b64encode(key.sign(signed_bytes(fields))).decode("ascii")
    return encoded({**fields, "signature": sig})


def read(raw: bytes, now: datetime = NOW) -> Record:
    """Read a record as a machine that looks for the publisher's stable amd64."""
    return read_record(raw, keyid=PUBLISHER.keyid, channel="stable", arch=Arch.AMD64, now=now)
