"""The process that speaks libp2p, from the side of its parent."""
