"""Phase Boot."""
