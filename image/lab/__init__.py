"""Virtual machines, the networks between them, and the demo: nothing here builds an image."""
