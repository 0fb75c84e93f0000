#!/bin/sh
# Builds the image csf24:TARGET with the first engine that is there. To choose: ENGINE=docker; further options for its
# build command: BUILD_OPTIONS='--network host'.
#   deploy/container/build.sh [cpu|gpu] [NAME:TAG]
set -eu
cd "$(dirname "$0")/../.."
target=${1:-cpu}
tag=${2:-csf24:$target}
engine=${ENGINE:-}
for known in podman docker buildah; do
  [ -n "$engine" ] || { command -v "$known" >/dev/null 2>&1 && engine=$known; } || continue
done
[ -n "$engine" ] || { echo "an image is built by podman, docker or buildah; none of them is here"; exit 1; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
set -- build --target "$target" --file deploy/Containerfile --tag "$tag" \
  --build-arg "VERSION=$version" --build-arg "REVISION=$revision"
case $(basename "$engine") in
  docker) ;;
  *) set -- "$@" --format docker ;;  # the OCI format has no place for the health check
esac
# shellcheck disable=SC2086 # options are words
exec "$engine" "$@" ${BUILD_OPTIONS:-} .
