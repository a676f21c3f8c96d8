"""What the firmware, its loader and a partition table say: pure readers, nothing is believed."""
