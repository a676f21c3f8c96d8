"""Implementations of the ports: each module wraps one library or kernel interface.

Their types stay inside the module, so that states and machine depend on no library.
"""
