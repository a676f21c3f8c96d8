# kubo is the program of most IPFS nodes. The first build compiles some 1,500 packages of Go.
.PHONY: kubo
kubo: .venv/done ## build kubo, an IPFS node, and DHT servers with faults, from tests/interop/kubo
	@tests/interop/kubo/build.sh "$(TOOLS)" "$(UV)"

.PHONY: js
js: .venv/done ## install npm's ipns and Helia, which tests compare with, from tests/interop/js
	@tests/interop/js/build.sh "$(TOOLS)/js" "$(UV)"
