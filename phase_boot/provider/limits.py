"""What one provider bears.

An address is an IPv4 address or an IPv6 /64 (`provider.addresses`). Many machines may share one: a
classroom of 60 machines behind a NAT router, or a whole LAN in one IPv6 /64. A machine that boots
has up to 6 connections (3 artifacts, their lists, documents, announcements), so 60 machines need
360. So the limits of an address are about three quarters of a table. The quarter that is left
admits others at once; what protects them beyond it is the eviction (`provider.eviction`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The ceilings of a provider, with values for a LAN of some hundred machines."""

    connections: int = 512
    """Open at once; for one more another one is evicted, or it is closed unread."""
    connections_per_address: int = 384
    """Of these, from one address: 60 machines with 6 connections each, and some."""
    unused_seconds: float = 1.0
    """A connection counts as idle after so long without any answer: its request did not come."""
    idle_seconds: float = 5.0
    """A connection counts as idle after so long without data sent."""
    slow_bytes_per_second: int = 17 * 1024
    """So does one that takes less on average: the rate that `chunk_seconds` demands as well."""
    request_read_seconds: float = 30.0
    """For a whole request head, from the start of a connection or the end of the answer before."""
    chunk_bytes: int = 1 << 20
    chunk_seconds: float = 60.0
    """For one chunk: who takes less than 17 KiB/s is cut off, and resumes if it can."""
    nodes: int = 1024
    """Machines whose receipts are kept."""
    nodes_per_address: int = 768
    """Of these, so many may have handed in their first receipt from one address."""
    receipts_per_node: int = 64
    """Kept of one machine; older ones go."""
    peers: int = 512
    """Machines that fetch one artifact and are told of one another."""
    peers_per_address: int = 64
    """Of these, so many may call from one full address: 60 machines behind a NAT router."""
    peers_per_network: int = 384
    """Of these, so many may call from one IPv6 /64."""
    max_peers_returned: int = 8
    """Of how many others each is told at once."""
    peer_seconds: float = 6.0
    """How long a machine counts that has not said anything again."""
    assigned_seconds: float = 10.0
    """How long nobody else is given what a machine was to take and does not."""
    log_seconds: float = 60.0
    """In so long so many lines are written; what is left out is counted and told after it."""
    log_lines: int = 600
    log_lines_per_address: int = 60
    log_summaries: int = 16
    """Addresses of which what is left out is told apart."""
    grace_seconds: float = 10.0
    """How long downloads may go on after the order to stop."""
