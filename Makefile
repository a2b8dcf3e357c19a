# Everything here does its own set-up in .venv, from the lock files.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
LOCKS := requirements.lock requirements-dev.lock requirements-build.lock
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header
# A worker for each core; tests of one group, such as those of the images, run in one worker.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadgroup

.PHONY: help demo test unit test-gitlab lint format docs pictures lock check-lock

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## Run the examples on an embedded GitLab: tag, trigger, wait, bump
	$(BIN)/python -m sandbox.demo

test: $(READY) ## Run all tests, or a part: ARGS="-k name"; image tests skip without Docker
	$(PYTEST) $(ARGS)

unit: $(READY) ## Run the unit tests alone, which are quick
	$(PYTEST) $(ARGS) tests/unit

test-gitlab: $(READY) ## Run the tests that any server will do for on GITLAB_URL, with GITLAB_TOKEN
	@: $${GITLAB_URL:?names the server} $${GITLAB_TOKEN:?is an access token with the api scope}
	$(BIN)/python -m pytest -m any_server

lint: $(READY) ## Check format, style, types, imports and the pipelines' files
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.gitlab-ci .gitlab-ci.yml \
	  examples/*/.gitlab-ci.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec \
	  tests/functional/any_server/compose.yaml

format: $(READY) ## Format the code, and repair what can be repaired
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(READY) ## Write the option tables and exit codes of the documents from the code
	$(BIN)/python docs/generate.py

pictures: $(READY) ## Draw the documents' pictures from a real wait in the embedded GitLab
	$(BIN)/python docs/pictures.py

lock: $(READY) ## Lock what pyproject.toml asks for; OPTIONS=--upgrade takes the newest
	$(COMPILE) $(OPTIONS) --output-file requirements.lock pyproject.toml
	$(COMPILE) $(OPTIONS) --output-file requirements-dev.lock --group dev pyproject.toml
	$(COMPILE) $(OPTIONS) --output-file requirements-build.lock --group build
	$(MAKE) check-lock

# The image installs wheels alone, and Alpine's are not those that pip takes here.
check-lock: $(READY) ## Check that every locked package has a wheel for the image
	@folder=$$(mktemp -d) && trap 'rm -r "$$folder"' EXIT && \
	for machine in x86_64 aarch64; do \
	  $(BIN)/python -m pip download --quiet --dest "$$folder" --no-deps --only-binary :all: \
	    --platform musllinux_1_2_$$machine --python-version 3.14 \
	    --require-hashes --requirement requirements.lock || exit 1; \
	done

$(READY): $(LOCKS) pyproject.toml
	@for python in python3 python3.14 python3.13 python3.12 python3.11 none; do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	if [ $$python = none ]; then \
	  echo 'make: Python 3.11 or later is needed, and none is on PATH.' >&2; exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip' 2>/dev/null; then \
	  echo "make: $$python comes without venv. On Debian: apt install python3-venv" >&2; exit 1; \
	fi; \
	echo "Setting up $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --no-deps --require-hashes --requirement requirements-dev.lock
	@$(BIN)/python -m pip check --quiet
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
