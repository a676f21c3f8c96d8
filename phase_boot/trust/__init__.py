"""Trust: takes bytes, keys and a time, returns a ``Verified`` or raises a refusal. No I/O."""
