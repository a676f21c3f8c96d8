"""Boots in a world of fakes, with faults in every port of it, and what must hold all the same."""
