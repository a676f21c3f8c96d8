# The machine's graph, searched exhaustively by spin: a second or two. `make test` plants wrong edges.
.PHONY: model-check
model-check: setup ## spin over the exported graph: no run breaks a promise, no state is dead
	$(RUN) python -m tests.model
