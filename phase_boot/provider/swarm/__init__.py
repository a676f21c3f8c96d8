"""Peer sharing: the tracker, its swarms, and the server of a peer."""
