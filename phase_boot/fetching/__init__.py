"""Turning a signed artifact and places where it may be into bytes that hash to it."""

from phase_boot.fetching.obtain import Errand, Unobtainable, obtain

__all__ = ["Errand", "Unobtainable", "obtain"]
