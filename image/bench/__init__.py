"""Measuring what is promised: each bench writes rows of one form, one reader shows them all."""
