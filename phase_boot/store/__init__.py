"""The content-addressed store: artifacts by the sha256 of their bytes."""
