"""Folders of the store and the state files, on the Cache partition, a disk or tmpfs."""
