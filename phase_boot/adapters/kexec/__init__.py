"""Loads and starts another kernel with kexec_load(2) or kexec_file_load(2), or dry-runs it."""
