"""Policies: what each mode may do, as data. Parsing one is validating it."""
