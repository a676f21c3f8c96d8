"""The machine: a graph, the loop that walks it, and the journal of the walk."""
