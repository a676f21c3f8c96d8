"""What one provider bears."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The ceilings of a provider, with values for a LAN of some hundred machines."""

    connections: int = 512
    """Open at once; more are closed unheard."""
    silence_seconds: float = 30.0
    """How long a connection may say nothing, before its first request or between two."""
    chunk_bytes: int = 1 << 20
    chunk_seconds: float = 60.0
    """For one chunk: who takes less than 17 KiB/s is cut off, and resumes if it can."""
    nodes: int = 1024
    """Machines whose receipts are kept."""
    receipts_of_a_node: int = 64
    """Kept of one machine; older ones go."""
    peers: int = 512
    """Machines that fetch one artifact and are told of one another."""
    peers_of_an_address: int = 64
    """Of these, so many may call from one address."""
    peers_told: int = 8
    """Of how many others each is told at once."""
    peer_seconds: float = 6.0
    """How long a machine counts that has not said anything again."""
    allotted_seconds: float = 10.0
    """How long nobody else is given what a machine was to take and does not."""
    grace_seconds: float = 10.0
    """How long downloads may go on after the order to stop."""
