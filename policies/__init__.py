"""Policies: the rules of each mode, as data. Parsing a policy validates it."""
