"""The process that speaks libp2p: a host that only dials, and what it looks up for its parent.

It runs without rights (`phase_boot.sandbox`), takes requests from its standard input and answers on
its standard output (`program`). It verifies nothing: records, blocks and addresses go to the parent
as peers sent them.
"""
