"""Roots of a SITE: reading, editing, signing and rendering them."""
