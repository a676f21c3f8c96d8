"""Builder of sticks and of the example target; not part of the installed package."""
