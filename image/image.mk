# The stick and the example target. KEY is the publisher's key file. ROOT is the root of trust of a stick,
# which names the publisher. Missing files are created once. `make clean` does not remove them, because
# later versions must be signed by the same keys.
KEY ?= publisher.key
ROOT_KEY ?= root.key
ROOT ?= roots/1.json
CHANNEL ?= stable
# A PEM file of additional certificate authorities for HTTPS mirrors.
CA ?=
IMAGE := $(RUN) python -m image

# make splits the names of targets at blanks.
$(foreach name,KEY ROOT_KEY ROOT,$(if $(word 2,$($(name))),$(error $(name)="$($(name))" has a blank: name a file without one)))

$(KEY) $(ROOT_KEY): | .venv/done
	@mkdir -p "$(dir $@)" && made=$$($(RUN) phase-boot key new "$@") && echo "Made the key $@: $$made"

$(ROOT): | $(KEY) $(ROOT_KEY)
	@made=$$($(RUN) phase-boot root new "$(dir $@)" --key "$(ROOT_KEY)" --channel "$(CHANNEL)" \
		--publisher "$(KEY)" --expires +3650d) && \
		echo "Made the root of trust, which names $(KEY) as publisher of $(CHANNEL): $$made"

.PHONY: image
image: setup $(ROOT) ## build the stick, dist/phase-boot-ARCH.img, which starts from ROOT
	@$(IMAGE) build --arch $(ARCH) --channel "$(CHANNEL)" --root "$(ROOT)" $(if $(CA),--ca "$(CA)") $(if $(NO_PUBLIC),--no-public)

.PHONY: target
target: setup $(ROOT) $(KEY) ## build the example target, publish it by KEY and ROOT to dist/site-ARCH
	@$(IMAGE) target --arch $(ARCH) --channel "$(CHANNEL)" --root "$(ROOT)" --key "$(KEY)"

.PHONY: hello
hello: .venv/done ## assemble the first job, build/hello.wasm, whose sha256 is pinned
	@$(RUN) python -m image.hello
