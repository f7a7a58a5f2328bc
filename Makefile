# What a clone needs, by one word each: `make help`. Everything that is slow to make is kept: the environment in .venv,
# models, compiled kernels, the Arm userland and the peer in the cache folder ($GEMMULE_CACHE, ~/.cache/gemmule).

PYTHON ?= python3
MODEL ?= smollm2-135m-instruct
HOST ?= 127.0.0.1
PORT ?= 8080
URL ?= http://$(HOST):$(PORT)
ARGS ?=
IMAGE ?= gemmule:0.1.0

BIN := .venv/bin
STAMP := .venv/stamp
# A model that was pulled has its checksum: it is looked for here, and not checked at each start.
MODELS := $${GEMMULE_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/gemmule}/models
export PYTHON

.DEFAULT_GOAL := help
.PHONY: help env serve test native-test arm-test matrix arm-matrix soak arm-report lint bench compare baseline parity architecture-parity token-parity proto fuzz-api lock

help: ## Show this list.
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

env: $(STAMP) ## Make the environment, in .venv; the command is .venv/bin/gemmule.

$(STAMP): pyproject.toml requirements.lock
	@tools/env/require python
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the locked packages into .venv"
	@$(BIN)/python -m pip --disable-pip-version-check install -qq -c requirements.lock -e '.[dev]'
	@touch $@

serve: env ## Pull the demo model and serve it on 127.0.0.1:8080 (MODEL= HOST= PORT= ARGS=).
	@test -e '$(MODEL)' || test -e "$(MODELS)/$(MODEL).gguf" || $(BIN)/gemmule pull '$(MODEL)'
	@exec $(BIN)/gemmule serve '$(MODEL)' --host $(HOST) --port $(PORT) $(ARGS)

test: env ## Run every test: on this machine and, at the same time, on emulated Arm cores (logs in .venv/logs).
	@tools/env/require prometheus browser arm
	@$(BIN)/python -m tools.side_by_side native='$(MAKE) native-test' arm='$(MAKE) arm-test'

native-test: env ## Run the tests on this machine (ARGS= goes to pytest).
	@tools/env/require prometheus browser
	@$(BIN)/gemmule pull > /dev/null
	$(BIN)/python -m pytest $(ARGS)

arm-test: env ## Run the kernel tests and a completion on emulated Neoverse N1, V1, N2 and SME2.
	@tools/env/require arm
	$(BIN)/python -m tools.arm.matrix

matrix: env ## Run every micro-kernel of this CPU on any shape, portion and value (some minutes).
	$(BIN)/python -m pytest tests/kernels/families/matrix.py $(ARGS)

arm-matrix: env ## The same on emulated Neoverse N1, V1, N2 and on SME2 (an hour; ARGS="--core neoverse-v1" for one).
	@tools/env/require arm
	$(BIN)/python -m tools.arm.matrix --whole $(ARGS)

arm-report: env ## Count and model the Arm micro-kernels beside KleidiAI, into docs/kernels.md.
	@tools/env/require arm mca
	$(BIN)/python -m tools.arm_report $(ARGS)

soak: env ## Ten minutes of callers who ask, leave, err and overflow the queue (ARGS="--seconds 60" for one).
	$(BIN)/python -m tests.soak $(ARGS)

.PHONY: under-load
under-load: env ## Figures of a loaded server beside its bounds: long prompts, prefixes, shutdown, ... (ARGS=CHECK for one).
	@$(BIN)/gemmule pull > /dev/null
	$(BIN)/python -m tests.under_load $(ARGS)

lint: env ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: env ## Measure beside llama.cpp, built natively and run in turn with us (ARGS= goes to the comparison).
	@tools/env/require peer
	$(BIN)/python -m tools.peer.compare $(ARGS)

compare: env ## Measure the server beside llama-server under load, in turn (ARGS=--write puts the table into README.md).
	@$(BIN)/gemmule pull > /dev/null
	@tools/env/require peer
	$(BIN)/python -m tools.peer.serving $(ARGS)
.PHONY: load-times
load-times: env ## Measure cold and warm loads, and memory, beside plain reading and writing (ARGS= goes to it).
	@$(BIN)/gemmule pull gemma-3-270m > /dev/null
	$(BIN)/python -m tools.load_times $(ARGS)

baseline: env ## Measure f32 NumPy, the generic kernels and the dispatched ones in turn, as a table (ARGS= goes to it).
	@$(BIN)/gemmule pull > /dev/null
	$(BIN)/python -m tools.baseline $(ARGS)

gemma-bench: env ## Measure QCINT8 and Mixed_INT48 in turn: Gemma 2B's shapes, Gemma 3 270M (ARGS= goes to it).
	@$(BIN)/gemmule pull gemma-3-270m > /dev/null
	$(BIN)/python -m tools.gemma $(ARGS)

parity: env ## Compare logits with a NumPy model and with llama.cpp (MODEL=, ARGS= goes to the check).
	@test -e '$(MODEL)' || $(BIN)/gemmule pull '$(MODEL)'
	@tools/env/require peer
	$(BIN)/python -m tools.parity.check '$(MODEL)' $(ARGS)

architecture-parity: env ## Compare logits of every architecture with llama.cpp's, on random weights (ARGS=).
	@tools/env/require peer
	$(BIN)/python -m tools.parity.architectures $(ARGS)

type-parity: env ## Compare every type of weights with llama.cpp, and llama.cpp with itself (ARGS= goes to it).
	@$(BIN)/gemmule pull > /dev/null
	@$(BIN)/gemmule pull gemma-3-270m > /dev/null
	@tools/env/require peer
	$(BIN)/python -m tools.parity.weight_types $(ARGS)

token-parity: env ## Compare tokens with llama.cpp's on 10,000 random and adversarial texts (MODEL=, ARGS=).
	@test -e '$(MODEL)' || $(BIN)/gemmule pull '$(MODEL)'
	@tools/env/require peer
	$(BIN)/python -m tools.parity.tokens '$(MODEL)' $(ARGS)

proto: env ## Generate the messages of service/rpc/proto from its protocol files.
	$(BIN)/python -m tools.proto.generate

.PHONY: gemma-bench image image-check image-lock rollout-check ray-env ray-check loadtest-check type-parity fuzz-files
image: ## Build the image for both platforms, by docker buildx (ARGS=--push goes to it).
	docker buildx build --platform linux/amd64,linux/arm64 --tag $(IMAGE) --build-arg REVISION=$$(git rev-parse HEAD) $(ARGS) .

image-check: env ## Build both platforms' images by buildah, start them (Arm emulated) and ask them (root; ARGS= goes to it).
	@tools/env/require arm image
	$(BIN)/python -m tools.image.check $(ARGS)

image-lock: env ## Lock the wheels of the image by hash, for both platforms, from requirements.lock.
	$(BIN)/python -m tools.image.lock

rollout-check: env ## Replace 2 replicas behind a proxy under load; no request may be lost (ARGS=--without-pre-stop loses).
	@$(BIN)/gemmule pull > /dev/null
	$(BIN)/python -m tools.rollout $(ARGS)

ray-env: .venv-ray/stamp ## Make the environment of Ray, in .venv-ray.

.venv-ray/stamp: pyproject.toml requirements.lock
	@tools/env/require python
	@test -x .venv-ray/bin/python || $(PYTHON) -m venv .venv-ray
	@echo "installing Ray into .venv-ray"
	@.venv-ray/bin/python -m pip --disable-pip-version-check install -qq -c requirements.lock -e '.[ray]'
	@touch $@

ray-check: env ray-env ## Rehearse Ray Serve on two nodes: kill, node, update, affinity, scale (ARGS= names some of them).
	@$(BIN)/gemmule pull > /dev/null
	.venv-ray/bin/python -m tools.cluster $(ARGS)

loadtest-check: env ## Hold the load test's figures against a server of known delays (two minutes; ARGS= goes to it).
	$(BIN)/python -m tools.loadcheck $(ARGS)

.venv-guidellm/stamp:
	@test -x .venv-guidellm/bin/python || $(PYTHON) -m venv .venv-guidellm
	@echo "installing guidellm, and the torch that it wants, into .venv-guidellm"
	@.venv-guidellm/bin/python -m pip --disable-pip-version-check install -qq guidellm==0.8.1
	@touch $@

.PHONY: loadtest-second
loadtest-second: env .venv-guidellm/stamp ## Hold the load test's figures against guidellm's, on a server of known delays.
	$(BIN)/python -m tools.loadcheck.second .venv-guidellm/bin/guidellm $(ARGS)
fuzz-files: env ## Damage model files, tokenizers, templates and folders 5,000 times: one line each (ARGS= goes to it).
	$(BIN)/python -m tests.fuzz $(ARGS)

.PHONY: schemas streams hostile costs
fuzz-api: env ## Try the API with 2,000 and more requests that schemathesis makes from its OpenAPI document (ARGS=).
	$(BIN)/python -m tests.faces fuzz $(ARGS)

schemas: env ## Ask the demo model for 200 JSON schemas; each answer parses and validates (ARGS=).
	@$(BIN)/gemmule pull > /dev/null
	$(BIN)/python -m tests.faces schemas $(ARGS)

streams: env ## 64 gRPC streams beside 64 HTTP streams of the demo model: nothing is lost, the same texts (ARGS=).
	@$(BIN)/gemmule pull > /dev/null
	$(BIN)/python -m tests.faces streams $(ARGS)

hostile: env ## 10,000 half-open connections of each kind, slow loris, header bombs, endless bodies (ARGS=).
	$(BIN)/python -m tests.faces hostile $(ARGS)

costs: env ## What counting, traces, masks, streaming and scrapes cost, each in turn with doing without (ARGS="ticks").
	@$(BIN)/gemmule pull > /dev/null
	$(BIN)/python -m tests.costs $(ARGS)

lock: ## Take the newest versions of all packages and lock them.
	rm -rf .venv/lock && $(PYTHON) -m venv .venv/lock
	.venv/lock/bin/python -m pip --disable-pip-version-check install -qq -e '.[dev]'
	{ sed -n '/^#/p' requirements.lock; .venv/lock/bin/python -m pip freeze --exclude-editable; } > .venv/lock/made
	mv .venv/lock/made requirements.lock && rm -rf .venv/lock
