# Everything here does its own set-up in .venv, from the lock files.

VENV := .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready
LOCKS := requirements.lock requirements-dev.lock requirements-build.lock requirements-audit.lock
PYTHONS := 3.11 3.12 3.13 3.14
# As uv names them; musl is Alpine's, of the image.
MACHINES := x86_64-unknown-linux-gnu aarch64-unknown-linux-gnu \
	x86_64-unknown-linux-musl aarch64-unknown-linux-musl \
	x86_64-apple-darwin aarch64-apple-darwin
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header
# As many workers as conftest.py says.
PYTEST := $(BIN)/python -m pytest --numprocesses auto

# How pip and uv install a lock: its versions and files, and nothing that an index offers beside.
EXACTLY := --no-deps --only-binary :all: --require-hashes --requirement
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Where it is set, each of the many processes of the tests would compile all modules again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test unit fuzz fault-matrix protections semantic-release test-gitlab lint format docs bench pictures lock check-lock audit renew-images

help: ## Show this list; the times are those of 2 cores, the first set-up takes 1 min more
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## Run the examples on an embedded GitLab: tag, trigger, wait, bump (45 s)
	$(BIN)/python -m sandbox.demo

test: $(READY) ## Run all tests, or a part: ARGS="-k name"; image tests skip without Docker (4 min)
	$(PYTEST) $(ARGS)

unit: $(READY) ## Run the unit tests alone (40 s)
	$(PYTEST) $(ARGS) tests/unit

fuzz: $(READY) ## Search for an input that a parser or an edit handles wrongly (5 min)
	$(PYTEST) -m hypothesis --hypothesis-profile fuzz $(ARGS)

fault-matrix: $(READY) ## Have each request of each command meet each fault; show a table (15 min)
	$(PYTEST) --whole-matrix --tb no --quiet $(ARGS) tests/fault_matrix

protections: $(READY) ## Take each protection out, and see which test notices (10 min)
	$(BIN)/python tests/protections.py

# Its versions are those with which the expected ones were found.
semantic-release: $(READY) ## Compare --next auto with semantic-release, which npm installs in .venv (2 min)
	@npm install --silent --no-audit --no-fund --prefix $(VENV)/npm semantic-release@24.2.9 \
	  conventional-changelog-conventionalcommits@9.3.1
	SEMANTIC_RELEASE=$(CURDIR)/$(VENV)/npm/node_modules/.bin/semantic-release \
	  $(PYTEST) -k test_semantic_release $(ARGS) tests/functional/cmd_tag_project

test-gitlab: $(READY) ## Run the tests of any server on GITLAB_URL, with GITLAB_TOKEN (1 min)
	@: $${GITLAB_URL:?names the server} $${GITLAB_TOKEN:?is an access token with the api scope}
	$(BIN)/python -m pytest -m any_server

lint: $(READY) ## Check format, style, types, imports, documents, the pipelines' files (30 s)
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.gitlab-ci .gitlab-ci.yml \
	  examples/*/.gitlab-ci.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec \
	  tests/functional/any_server/compose.yaml
	$(BIN)/python -m pytest --quiet tests/meta/test_command_pages.py tests/meta/test_documents.py \
	  tests/meta/test_pictures.py tests/meta/test_release_notes.py

format: $(READY) ## Format the code, and repair what can be repaired (1 s)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(READY) ## Write the option tables and exit codes of the documents from the code (2 s)
	$(BIN)/python docs/generate.py

bench: $(READY) ## Measure the commands beside others, and write docs/benchmarks.md (30 min)
	$(BIN)/python benchmarks/run.py $(ARGS)

pictures: $(READY) ## Draw the documents' pictures from a real wait in the embedded GitLab (30 s)
	$(BIN)/python docs/pictures.py

# These need the tools of the old lock alone: $(READY) would fail for a requirement not yet locked.
lock: $(LOCKED) ## Lock what pyproject.toml asks for; OPTIONS=--upgrade takes the newest (1 min)
	$(COMPILE) $(OPTIONS) --output-file requirements.lock pyproject.toml
	$(COMPILE) $(OPTIONS) --output-file requirements-dev.lock --group dev pyproject.toml
	$(COMPILE) $(OPTIONS) --output-file requirements-build.lock --group build
	$(COMPILE) $(OPTIONS) --output-file requirements-audit.lock --group audit
	$(MAKE) check-lock

check-lock: $(LOCKED) ## Check that the index has a locked wheel for every machine (20 s)
	@folder=$$(mktemp -d) && trap 'rm -r "$$folder"' EXIT && \
	for lock in $(LOCKS); do for python in $(PYTHONS); do for machine in $(MACHINES); do \
	  $(BIN)/uv pip install --quiet --dry-run --python $(BIN)/python --target "$$folder" \
	    --python-version $$python --python-platform $$machine $(EXACTLY) $$lock || exit 1; \
	done; done; done

# In an environment of its own, because pip-audit depends on pip, and would replace that of the other.
audit: $(LOCKED) ## Ask osv.dev for known vulnerabilities of what is locked (30 s)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/audit
	@$(BIN)/uv pip install --quiet --python $(VENV)/audit $(EXACTLY) requirements-audit.lock
	@$(BIN)/uv pip check --python $(VENV)/audit
	@failed=0; for lock in $(LOCKS); do echo "$$lock"; \
	  $(VENV)/audit/bin/pip-audit --strict --progress-spinner off --vulnerability-service osv \
	    --disable-pip --requirement $$lock $(OPTIONS) || failed=1; \
	done; exit $$failed

renew-images: $(LOCKED) ## Pin the images of .gitlab-ci.yml and the Dockerfile to today's digests (10 s)
	$(BIN)/python .ci/renew_images.py

# A new lock gets a new environment, so that nothing is left of the old one.
$(LOCKED): requirements-dev.lock
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
	$$python -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet $(EXACTLY) requirements-dev.lock
	@touch $@

# `pip check --quiet` would not say what is missing.
$(READY): $(LOCKED) pyproject.toml
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@found=$$($(BIN)/python -m pip check) || { echo "$$found" >&2; \
	  echo 'make: Run make lock if pyproject.toml asks for something new, else remove $(VENV).' >&2; \
	  exit 1; }
	@touch $@
