"""Ceilings of a provider.

An address is an IPv4 address or an IPv6 /64 (`provider.addresses`). Many machines may share one: a
classroom of 60 machines behind a NAT router, or a whole LAN in one IPv6 /64. A machine that boots
has up to 6 connections (3 artifacts, their lists, documents, announcements), so 60 machines need
360. The limits per address are therefore about three quarters of a table. The remaining quarter
admits other addresses at once; beyond it, eviction protects them (`provider.eviction`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The ceilings of a provider, with values for a LAN of some hundred machines."""

    connections: int = 512
    """Open at once; one more evicts another connection, or is closed unread."""
    connections_per_address: int = 384
    """Of these, from one address: 60 machines with 6 connections each, and a margin."""
    unused_seconds: float = 1.0
    """Age at which a connection without any response counts as idle."""
    idle_seconds: float = 5.0
    """Time without sent data after which a connection counts as idle."""
    slow_bytes_per_second: int = 17 * 1024
    """Average rate below which a connection counts as idle; `chunk_seconds` demands the same."""
    request_read_seconds: float = 30.0
    """For a whole request head, from connection start or the end of the previous response."""
    chunk_bytes: int = 1 << 20
    chunk_seconds: float = 60.0
    """For one chunk: a client below 17 KiB/s is disconnected; it can resume."""
    nodes: int = 1024
    """Machines whose receipts are kept."""
    nodes_per_address: int = 768
    """Of these, with their first receipt from one address."""
    receipts_per_node: int = 64
    """Per machine; older ones are removed."""
    peers: int = 512
    """Peers in the swarm of one artifact."""
    peers_per_address: int = 64
    """Of these, from one full address: 60 machines behind a NAT router."""
    peers_per_network: int = 384
    """Of these, from one IPv6 /64."""
    max_peers_returned: int = 8
    """Other peers in one reply."""
    peer_seconds: float = 6.0
    """Time after its last announcement at which a peer is removed."""
    assigned_seconds: float = 10.0
    """Time without progress after which assigned pieces are released to other peers."""
    log_seconds: float = 60.0
    """Interval of the log limits; suppressed lines are counted and summarised at its end."""
    log_lines: int = 600
    log_lines_per_address: int = 60
    log_summaries: int = 16
    """Addresses with a summary of their own."""
    grace_seconds: float = 10.0
    """Time for downloads to finish after the stop signal."""
