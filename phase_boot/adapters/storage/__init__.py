"""Folders that hold the store and the state files, and the partition or memory behind them."""
