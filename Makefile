# One command each, thin over the scripts.
.PHONY: check test slow search sim bench
check: ; bash scripts/test.sh tests/whole
test: ; bash scripts/test.sh
slow: ; .venv/test/bin/python -m pytest -m slow
ROUNDS ?= 5
search: ; for n in $$(seq $(ROUNDS)); do grep -rl '^from hypothesis' tests --include='test_*.py' \
	| xargs .venv/test/bin/python -m pytest -q -m "not slow" --hypothesis-profile=search || exit 1; done
N ?= 1000
sim: ; .venv/test/bin/harness explore --seeds $(N)
bench: ; for each in bench/*.py; do echo "== $$each"; .venv/test/bin/python $$each || true; done
