"""The lab: virtual machines, the networks between them, and the demo.

The lab uses an image that the builder made; the builder never imports the lab.
"""
