"""Prepares the hand-off: the target's initrd and command line, and the hand-over document."""
