"""The state machine: its graph as data, the driver that walks it, and what its states share."""
