# The commands of this checkout; `make` alone lists them.

PYTHON ?= python3
PORT ?= 6083
API_PORT ?= 8774
VENV := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test unit bench lint docs lock setup clean

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: ## one guest, one daemon, one console URL to open (PORT=6083 API_PORT=8774)
	@$(PYTHON) tools/bootstrap.py demo
	@$(VENV)/python -m tools.demo --port $(PORT) --api-port $(API_PORT)

test: setup ## everything: style, types, the page, unit and functional tests
	@$(VENV)/python -m pytest -q -n auto --dist loadfile

unit: setup ## the unit tests alone
	@$(VENV)/python -m pytest -q -n auto tests/unit

bench: ## measure the daemon: latency, throughput, memory, sessions a second
	@$(PYTHON) tools/bootstrap.py bench
	@$(VENV)/python -m bench

lint: setup ## style, types and the page's checks alone
	@$(VENV)/python -m tools.checks

docs: setup ## the documentation as pages, in .build/docs
	@$(VENV)/python -m sphinx -q -W --keep-going -d .build/doctrees docs .build/docs
	@echo "open .build/docs/index.html"

lock: ## choose the newest versions of everything again (requirements/test.txt)
	@$(PYTHON) tools/lock.py

setup: ## everything that the tests need, without running them
	@$(PYTHON) tools/bootstrap.py test

clean: ## remove what was built: virtual environment, guest image, page
	rm -rf .build .venv build dist *.egg-info consoled/web/node_modules consoled/web/static
