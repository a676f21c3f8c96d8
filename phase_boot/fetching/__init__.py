"""Turning a signed artifact and places where it may be into bytes that hash to it."""

from phase_boot.fetching.circle import Circle
from phase_boot.fetching.company import Company
from phase_boot.fetching.errand import Errand, Unobtainable
from phase_boot.fetching.obtain import obtain

__all__ = ["Circle", "Company", "Errand", "Unobtainable", "obtain"]
