"""Consoles: terminals, keys, lines, and the menu of the Seed Shell on each of them."""
