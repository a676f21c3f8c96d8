"""The trust and requirements of a machine, and a second publisher's key."""

from __future__ import annotations

from typing import Final

from phase_boot.content.arch import Arch
from phase_boot.content.version import Version
from phase_boot.drill.sample_manifest import PUBLISHER
from phase_boot.trust.keys import SigningKey
from phase_boot.trust.signatures import Trust
from phase_boot.trust.verify import BootRequirements

SECOND: Final = SigningKey(b"\x02" * 32)
REQUIREMENTS: Final = BootRequirements(
    arch=Arch.AMD64, channel="stable", min_version=Version.parse("2025.10.01")
)
TRUST: Final = Trust(keys=frozenset({PUBLISHER.keyid}), threshold=1)
TRUST_BOTH: Final = Trust(keys=frozenset({PUBLISHER.keyid, SECOND.keyid}), threshold=2)
