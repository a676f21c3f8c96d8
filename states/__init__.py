"""The handlers of the states, one in each file: a coroutine and its declaration as `Handler`."""
