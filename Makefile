# `make demo` and `make test` need Python 3.11 and make, nothing else: both build .venv themselves.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(if $(shell command -v $(name)),$(name))))
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test slow lint bench clean

demo: $(VENV)/.ready
	rm -rf out/demo
	$(BIN)/fewmask demo --out out/demo

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest

# Everything that `test` leaves out for time or data; `gpu` needs a CUDA device.
slow: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -m "slow or data"

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.ready-dev
	$(BIN)/python benchmarks/long_video.py
	$(BIN)/python benchmarks/real_video.py

clean:
	rm -rf $(VENV) out

# uv installs in seconds; plain pip does the same where uv cannot be had.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(call install,.)

$(VENV)/.ready-dev: pyproject.toml constraints.txt
	$(call install,.[dev])
	touch $(VENV)/.ready

define install
	@test -n "$(PYTHON)" || { echo "fewmask needs Python 3.11 or newer"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than Python 3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv || true
	if $(BIN)/python -m uv --version >/dev/null 2>&1; then \
	    $(BIN)/python -m uv pip install --quiet --python $(BIN)/python --constraint constraints.txt -e '$(1)'; \
	else \
	    $(BIN)/python -m pip install --quiet --constraint constraints.txt -e '$(1)'; \
	fi
	touch $@
endef
