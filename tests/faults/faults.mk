# Boots with faults in every port, in virtual time. `make test` injects each fault in one scenario and
# boots 300 seeds; this target injects each fault in every scenario.
SEEDS ?= 5000

.PHONY: faults
faults: .venv/done ## every fault in every state of every scenario, then SEEDS=5000 boots with several
	@rm -f build/results/faults.xml
	$(RUN) pytest -q -n 2 --every-scenario --seeds $(SEEDS) --junitxml=build/results/faults.xml tests/faults || true
	@$(RUN) python -m tests.proofs record faults
