"""What the process does for its parent, by the names in requests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from phase_boot.libp2p_node.bitswap_operation import BlockOperation
from phase_boot.libp2p_node.dht_operations import providers, record
from phase_boot.libp2p_node.program import Operation

OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    {"block": BlockOperation(), "providers": providers, "record": record}
)
