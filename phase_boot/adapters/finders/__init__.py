"""Finders, which report candidate manifest URLs (SPEC M2.4, M2.6)."""
