"""Fault injection: boots with fakes for all ports, and checks invariants."""
