"""Parses EFI load options, device paths and partition tables: pure code, untrusted input."""
