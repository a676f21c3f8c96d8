"""The machine's graph, checked exhaustively by spin (SPEC B12)."""
