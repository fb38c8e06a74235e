# Two commands: `make demo` and `make test`. Both set up everything they need inside the checkout.

PYTHON := $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := $(shell sed -n 's/^uv==//p' constraints.txt)
ARGS ?=
FUZZ_SECONDS ?= 45
# What `make prometheus` unpacks.
TOOLS := .cache/prometheus
# Three processes, since many tests wait; files that take long come first, as their folders do.
TOGETHER := -n 3 --dist loadfile --no-loadscope-reorder

export UV_HTTP_TIMEOUT = 300
export UV_NO_PROGRESS = 1

.PHONY: demo test check unit docs browser prometheus bench-faust demo-call fuzz clean

demo: $(VENV)/ready  ## play the demo call through a private Kafka, on a page and in the terminal
	@exec $(BIN)/tenor demo $(ARGS)

test: $(VENV)/ready browser prometheus check  ## everything: style, types, all tests on a real Kafka
	$(BIN)/python -m pytest $(TOGETHER) $(ARGS)

check: $(VENV)/ready  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/ready  ## the tests that need neither Kafka nor models
	$(BIN)/python -m pytest $(TOGETHER) tests/unit tests/property

docs: $(VENV)/ready  ## make the pages anew that are made from the code: events, settings, schemas
	$(BIN)/python -m streams.docs

browser:  ## Chromium, in which the page is tested: Debian's, where we may install it
	@command -v chromium > /dev/null || { \
		echo "installing chromium with apt-get, to test the page in .."; \
		apt-get install -y -qq chromium > /dev/null 2>&1 \
			|| { apt-get update -qq && apt-get install -y -qq chromium; } > /dev/null 2>&1 \
			|| echo "could not: install chromium yourself, or the tests in a browser are skipped"; }

prometheus:  ## Prometheus, with which its rules and the dashboards are tested: Debian's, only unpacked
	@command -v promtool > /dev/null || [ -x $(TOOLS)/usr/bin/promtool ] || { \
		echo "fetching prometheus with apt-get into $(TOOLS), to test what watches over Tenor .."; \
		mkdir -p $(TOOLS) && cd $(TOOLS) \
			&& { apt-get download -qq prometheus prometheus-alertmanager > /dev/null 2>&1 \
				|| { apt-get update -qq && apt-get download -qq prometheus prometheus-alertmanager; } \
					> /dev/null 2>&1; } \
			&& for package in *.deb; do dpkg -x $$package . && rm $$package; done \
			|| echo "could not: put promtool, prometheus and amtool on the PATH, or tests are skipped"; }

bench-faust: $(VENV)/ready  ## what Faust does on this machine (minutes)
	$(BIN)/python tests/bench/faust_facts.py $(ARGS)

fuzz: $(VENV)/ready  ## look for inputs at which a decoder fails (12 minutes; FUZZ_SECONDS per target)
	$(BIN)/uv pip install --quiet -c constraints.txt -e '.[fuzz]'
	$(BIN)/python -m tests.fuzz.run --seconds $(FUZZ_SECONDS) $(ARGS)

demo-call: $(VENV)/ready  ## make the audio of the demo call anew (needs flite)
	$(BIN)/uv pip install --quiet -c constraints.txt -e '.[speech-synthesis]'
	$(BIN)/python demo/make_call.py

$(VENV)/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "Tenor needs Python 3.11; $(PYTHON) is another version"; exit 1; }
	@echo "installing the pinned dependencies into $(VENV) (about 7 GB; minutes the first time) .."
	@$(PYTHON) -m venv $(VENV) \
		|| { echo "could not make $(VENV): on Debian, apt-get install python3.11-venv"; exit 1; }
	@$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

clean:  ## remove what the two commands made inside the checkout
	rm -rf $(VENV) $(TOOLS) .run demo-results.json .mypy_cache .ruff_cache .pytest_cache .hypothesis
