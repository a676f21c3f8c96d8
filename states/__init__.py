"""The states: one file, one state, each a coroutine and the data that describes it."""
