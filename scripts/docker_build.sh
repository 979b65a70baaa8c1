#!/usr/bin/env bash
# Builds the image that `harness test --env docker` and docker-compose.yml use.
#   scripts/docker_build.sh [--base IMAGE] [--tag NAME] [--no-wheels]
# The packages are fetched on this machine, with its pip and its settings, into wheels/ (kept between
# builds), so that the build itself needs no network if the base image has tc, nft and iptables.
# --no-wheels lets the build fetch them instead.
set -euo pipefail
cd "$(dirname "$0")/.."
base=python:3.12-slim tag=splitbrain:latest wheels=yes
while [ $# -gt 0 ]; do
    case "$1" in
        --base) base="$2"; shift 2 ;;
        --tag) tag="$2"; shift 2 ;;
        --no-wheels) wheels=no; shift ;;
        *) echo "docker_build.sh: unknown option '$1'; there are: --base --tag --no-wheels" >&2; exit 254 ;;
    esac
done
if ! docker info >/dev/null 2>&1; then
    echo "docker_build.sh: Docker's daemon does not answer; start it: sudo systemctl start docker" >&2
    exit 3
fi
if ! docker image inspect "$base" >/dev/null 2>&1 && ! docker pull --quiet "$base" >/dev/null; then
    echo "docker_build.sh: the base image $base is not on this machine and could not be pulled (see above);" >&2
    echo "  without a registry make one as docs/environments.md tells, and give it: --base NAME" >&2
    exit 3
fi
python=""
for candidate in ${PYTHON:-} .venv/bin/python .venv/test/bin/python python3; do
    if "$candidate" -m pip --version >/dev/null 2>&1; then python="$candidate"; break; fi
done
if [ "$wheels" = no ] || [ -z "$python" ]; then
    rm -rf wheels
else
    mkdir -p wheels
    want=$(docker run --rm --entrypoint python3 "$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    have=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    rm -f wheels/splitbrain-*.whl
    "$python" -m pip wheel --quiet --no-deps --wheel-dir wheels .
    target=()
    if [ "$want" != "$have" ]; then
        machine=$(uname -m)
        target=(--only-binary=:all: --implementation cp --python-version "$want" --abi "cp${want/./}" --abi abi3 --abi none)
        for glibc in 17 24 26 27 28 31; do target+=(--platform "manylinux_2_${glibc}_${machine}"); done
        target+=(--platform "manylinux2014_${machine}")
    fi
    "$python" -m pip download --quiet --dest wheels --find-links wheels "${target[@]}" wheels/splitbrain-*.whl
fi
DOCKER_BUILDKIT="${DOCKER_BUILDKIT:-0}" docker build --quiet --build-arg "BASE_IMAGE=$base" --tag "$tag" . >/dev/null
docker image prune --force --filter "label=org.opencontainers.image.title=splitbrain" >/dev/null
echo "built $tag from $base ($(docker image inspect --format '{{.Size}}' "$tag" | awk '{printf "%.0f MB", $1 / 1e6}'))"
