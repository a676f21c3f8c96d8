"""Checks of a release and of a SITE, as the machines that boot from it make them."""
