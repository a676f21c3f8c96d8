"""What the target is handed: the combined initrd, and the document about how it came to be."""
