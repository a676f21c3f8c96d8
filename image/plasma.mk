# What the booted OS runs first.
.PHONY: hello
hello: .venv/done ## assemble the first job, build/hello.wasm, whose sha256 is pinned
	@$(RUN) python -m image.hello
