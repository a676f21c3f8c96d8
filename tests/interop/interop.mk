# kubo is the program of most IPFS nodes. The first build compiles some 1,500 packages of Go.
.PHONY: kubo
kubo: .venv/done ## build kubo, an IPFS node that tests compare with, from tests/interop/kubo
	@tests/interop/kubo/build.sh "$(TOOLS)/ipfs" "$(UV)"
