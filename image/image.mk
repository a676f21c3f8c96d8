# The stick and the example target. KEY is a publisher's key file; one is made if there is none.
# It lies where `make clean` does not reach: what it signed cannot be signed again without it.
KEY ?= publisher.key
CHANNEL ?= stable
IMAGE := $(RUN) python -m image

$(KEY): | .venv/done
	@mkdir -p $(dir $@)
	@echo "Making the publisher's key $@:" $$($(RUN) phase-boot key new $@)

.PHONY: image
image: setup $(KEY) ## build the stick, dist/phase-boot-ARCH.img, which trusts KEY
	@$(IMAGE) build --arch $(ARCH) --channel $(CHANNEL) --key $$($(RUN) phase-boot key show $(KEY))

.PHONY: target
target: setup $(KEY) ## build the example target and publish it to dist/site-ARCH
	@$(IMAGE) target --arch $(ARCH) --channel $(CHANNEL) --key $(KEY)
