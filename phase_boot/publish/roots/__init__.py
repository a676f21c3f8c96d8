"""Roots of a SITE: reading, changing, signing and showing them."""
