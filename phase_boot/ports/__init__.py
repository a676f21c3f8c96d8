"""Ports: the Protocols through which the machine acts, each with an adapter and a fake."""
