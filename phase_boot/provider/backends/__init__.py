"""Backends: a SITE, a store, or artifacts that are still being downloaded."""
