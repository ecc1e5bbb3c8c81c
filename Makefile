# `make demo` and `make test` need Python 3.11 and make, nothing else: both build .venv themselves.
ifndef PYTHON
PYTHON := $(shell .ci/pythons first)
endif
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all smoke endurance slow lint site bench clean

demo: $(VENV)/.ready
	rm -rf out/demo
	$(BIN)/fewmask demo --out out/demo

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest

# The default tests under every Python that .ci/pythons finds, each in an environment of its own.
test-all:
	@failed=; for python in $$(.ci/pythons); do \
	    version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "Python $$version"; \
	    $(MAKE) test PYTHON=$$python VENV=.venv-$$version || failed="$$failed $$version"; \
	done; test -z "$$failed" || { echo "failed under Python$$failed"; exit 1; }

# The wheel in a bare environment of every Python found, the demo and the doctor there; NEWEST=1 ignores the pins.
smoke: $(VENV)/.ready
	.ci/smoke $(abspath $(BIN)/python)

# Everything that `test` leaves out for time or data; `gpu` needs a CUDA device.
slow: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -m "slow or data"

# Kills every verb again and again and looks at what is left: docs/trust.md.
endurance: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -m slow tests/endurance tests/trust

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages of docs/ and a reference of the Python names, into out/site.
site: $(VENV)/.ready-dev
	$(BIN)/python -m mkdocs build --strict

bench: $(VENV)/.ready-dev
	$(BIN)/python benchmarks/long_video.py
	$(BIN)/python benchmarks/real_video.py

clean:
	rm -rf $(VENV) .venv-* out

# uv installs in seconds; plain pip does the same where uv cannot be had.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(call install,.)

$(VENV)/.ready-dev: pyproject.toml constraints.txt
	$(call install,.[dev])
	touch $(VENV)/.ready

define install
	@test -n "$(PYTHON)" || { echo "fewmask needs Python 3.11 or newer, with its venv module"; exit 2; }
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
