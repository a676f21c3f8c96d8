# boxo is the library of which kubo is made; the first build takes about ten minutes.
.PHONY: interop-ipfs
interop-ipfs: setup ## let boxo read our DAGs and serve them to us; needs Go 1.26
	@command -v go >/dev/null || { echo "go is missing: install Go 1.26 or newer" >&2; exit 1; }
	@mkdir -p build/tools
	cd tests/interop/ipfs && CGO_ENABLED=0 go build -o "$(CURDIR)/build/tools/boxo-peer" .
	$(RUN) pytest tests/interop/test_ipfs.py
