# `make demo` and `make test` want a Python of 3.11 or newer with its pip, and nothing else.
PYTHON ?= python3
UV := .uv/bin/uv
READY := .venv/.ready
# As pip: behind a proxy the certificates are the machine's own.
export UV_SYSTEM_CERTS := 1
# Without bytecode each process compiles PyTorch and transformers anew: 30 s of processor time instead of 12.
unexport PYTHONDONTWRITEBYTECODE
# A process for each core, of one thread: the models in the tests are small.
PYTEST := OMP_NUM_THREADS=1 .venv/bin/pytest --numprocesses logical --maxprocesses 8 --dist loadfile

.PHONY: demo test test-all lint lock clean

demo: $(READY)
	.venv/bin/asr-adapt demo
	@echo "\`. .venv/bin/activate\` puts asr-adapt on your path."

test: lint
	$(PYTEST) -m "not slow and not mboshi"

test-all: lint
	$(PYTEST)

lint: $(READY)
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(f"asr_adapt needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. Name another: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action ignore --upgrade --target .uv uv
	$(UV) venv --quiet --allow-existing --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" .venv
	$(UV) pip install --quiet --python .venv -r requirements.lock
	$(UV) pip install --quiet --python .venv --no-deps --editable .
	@# Its wheels want glibc 2.35; without it models decode greedily, and say so.
	$(UV) pip install --quiet --python .venv ctc-beam-decoder==0.2.0 || echo "note: no beam search on this system"
	@touch $@

# Versions without addresses, for every platform and Python.
lock: $(READY)
	$(UV) pip compile --quiet --universal --python-version 3.11 --extra tensorboard --extra serve --extra dev --no-emit-index-url --no-header \
		--output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv .uv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
