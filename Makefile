# One command each, thin over the scripts.
.PHONY: check test slow sim bench
check: ; bash scripts/test.sh tests/whole
test: ; bash scripts/test.sh
slow: ; .venv/test/bin/python -m pytest -m slow
N ?= 1000
sim: ; .venv/test/bin/harness explore --seeds $(N)
bench: ; for each in bench/*.py; do echo "== $$each"; .venv/test/bin/python $$each || true; done
