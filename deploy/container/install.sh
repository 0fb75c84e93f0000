#!/bin/sh
# Inside the build: the wheel and what it needs, at the versions of constraints.txt, into /opt/csf24.
#   install.sh EXTRA [REQUIREMENT...]
set -eu
extra=$1
shift
wheel=$(echo /wheels/csf24-*.whl)
python3 -m venv --without-pip /opt/csf24
# Wheels only, so that no compiler is needed.
python3 -m pip --python /opt/csf24/bin/python install --no-cache-dir --only-binary :all: \
  --constraint /constraints.txt "$wheel[$extra]" "$@"
python3 -m pip --python /opt/csf24/bin/python check
# What packages bring along and the service never uses: their test suites, and programs (DICOM tools among them).
find /opt/csf24/lib -depth -type d -path '*/site-packages/*/tests' -exec rm -r {} +
find /opt/csf24/bin -mindepth 1 ! -name 'python*' ! -name csf24 -delete
