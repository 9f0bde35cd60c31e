# qwend: `make serve` to try it, `make test` to check it.
.DEFAULT_GOAL := help
PORT ?= 8000
HOST ?= 127.0.0.1
BIN := .venv/bin

# No target makes a file of its name.
.PHONY: $(shell awk -F: '/^[a-z-]+:/ { print $$1 }' $(firstword $(MAKEFILE_LIST)))

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## Make .venv with everything in it (once; a second run does nothing)
	@scripts/install.sh

serve: install ## Serve the embedded reference checkpoint on PORT (8000)
	@exec $(BIN)/qwend serve --host $(HOST) --port $(PORT)

test: install lint redis postgresql prometheus kubernetes-tools ## Run the tests, most of them against a real engine over HTTP
	@$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-slow: install redis postgresql prometheus haproxy podman ## Run the tests that take minutes
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-chaos: install redis ## Every fault on a real daemon (some 20 minutes); writes results/chaos.md
	@$(BIN)/python -m pytest -s -m slow tests/chaos $(ARGS)

test-deploy: install redis haproxy ## Rolling restart, a killed daemon, shared quotas (some 10 minutes); writes results/
	@$(BIN)/python -m pytest -s -m slow tests/deploy --ignore tests/deploy/test_container.py $(ARGS)

soak: SECONDS = 600
soak: install ## Mixed load with cancels and bad input for SECONDS (600): nothing may grow
	@$(BIN)/python -m tests.soak --seconds $(SECONDS)

redis: ## Install redis-server where it is missing and can be (the tests need one)
	@scripts/install_for_tests.sh REDIS redis-server redis-server

postgresql: ## Install PostgreSQL where it is missing and can be (the tests need one)
	@scripts/install_for_tests.sh POSTGRESQL postgresql initdb '/usr/lib/postgresql/*/bin/initdb'

prometheus: ## Install prometheus where it is missing and can be (the tests of dashboards and alerts need it)
	@scripts/install_for_tests.sh PROMETHEUS prometheus prometheus

test-container: install podman ## Build the image with Podman and run it read-only (some 10 minutes); root on Debian
	@$(BIN)/python -m pytest -s -m slow tests/deploy/test_container.py $(ARGS)

podman: ## Install podman, runc and mmdebstrap where they are missing and can be (test-container needs them)
	@scripts/install_for_tests.sh PODMAN podman podman
	@scripts/install_for_tests.sh PODMAN runc runc
	@scripts/install_for_tests.sh PODMAN mmdebstrap mmdebstrap

hadolint: ## Check the Dockerfile
	@scripts/hadolint.sh

sbom: ## Write bills of materials (CycloneDX) of what the images install into dist/
	@scripts/sbom.sh

pin-images: install ## Put the registry's digests behind the tags of base images (needs skopeo or docker, and a registry)
	@$(BIN)/python scripts/pin_images.py

haproxy: ## Install haproxy where it is missing and can be (the drills of tests/deploy need it)
	@scripts/install_for_tests.sh HAPROXY haproxy haproxy

kubernetes-tools: install ## Install kubectl, checkov and Kubernetes' schemas into .kubernetes (the tests of manifests need them)
	@[ "$$QWEND_TEST_WITHOUT_KUBERNETES" = 1 ] || scripts/install_kubernetes_tools.sh

kubernetes: install ## Write deploy/kubernetes anew from the profiles
	@$(BIN)/python -m scripts.kubernetes

check-kubernetes: kubernetes-tools prometheus ## Build every overlay, validate and scan it, and run the reference pod (some 3 minutes)
	@$(BIN)/python -m pytest tests/kubernetes $(ARGS)

record-faults: install prometheus ## Plant each fault in a real daemon and keep its series (half an hour)
	@$(BIN)/python -m pytest -s -m slow tests/telemetry/test_record_faults.py $(ARGS)

pictures: install ## The status page in Chromium under load, and the recorded faults, into docs/pictures
	@QWEND_KEEP_PICTURE=docs/pictures/status.png $(BIN)/python -m pytest -q -m slow tests/telemetry/test_status_page.py
	@$(BIN)/python -m tests.telemetry.faults_picture

dashboards: install ## Write deploy/grafana anew
	@$(BIN)/python scripts/dashboards.py

lint: install ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: install ## Put the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench-parser: install ## Cost per token of the output parser, beside vLLM's
	@$(BIN)/python tests/bench/parser_cost.py

bench-frontend: install ## CPU per token beside vLLM's own servers, stalls, memory and what one core carries (half an hour)
	@$(BIN)/python -m tests.bench.frontend $(ARGS)

loadtest: install ## Find what a daemon can do and put three kinds of load on it; reports go to results/
	@$(BIN)/python scripts/loadtest.py $(ARGS)

bench-load: install ## Admission under open-loop load on the real engine, beside the same load without it
	@$(BIN)/python -m tests.bench.admission_engine $(ARGS)

bench-admission: install ## Cost of a decision of the admission policy, with up to 10,000 waiting
	@$(BIN)/python tests/bench/admission_cost.py

simulate: install ## Overload, floods and traces against a simulated engine: writes the tables and pictures of docs/admission.md
	@$(BIN)/python -m loadtest.simulation

fit-simulator: install ## Fit the simulated engine to the reference checkpoint's real one (some 2 minutes)
	@$(BIN)/python -m loadtest.simulation.fit

train: install ## Train the reference checkpoint anew into .train/ (resumes where it stopped)
	@$(BIN)/python -m server.reference.train --out .train --resume

evaluate: install ## Score the reference checkpoint through a daemon that is running on PORT
	@$(BIN)/python -m server.reference.evaluate --base-url http://127.0.0.1:$(PORT)/v1

fuzz: SECONDS = 60
fuzz: install ## Fuzz parser, messages, images and bodies by coverage, SECONDS (60) each
	@scripts/install_atheris.sh
	@PYTHONPATH=.fuzz:. $(BIN)/python -m tests.fuzz.run $(SECONDS) $(ARGS)

audit: install ## Look for secrets in the files, and for known holes in the locked packages (needs a network)
	@scripts/audit.sh

lock: ## Resolve the dependencies anew and write requirements/cpu.lock
	@scripts/lock.sh

clean: ## Remove .venv and caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .container .sbom .hadolint .compose
