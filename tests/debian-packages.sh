#!/bin/sh
# Debian programs that tests check against. Installed where that is allowed; where not, those tests
# skip and say so.
set -u
wanted=""
command -v Orthanc >/dev/null 2>&1 || [ -x /usr/sbin/Orthanc ] || wanted="$wanted orthanc"
command -v dcmsend >/dev/null 2>&1 || wanted="$wanted dcmtk"
command -v dciodvfy >/dev/null 2>&1 || wanted="$wanted dicom3tools"
command -v chromium >/dev/null 2>&1 || wanted="$wanted chromium"
command -v promtool >/dev/null 2>&1 || wanted="$wanted prometheus"
command -v pdftoppm >/dev/null 2>&1 || wanted="$wanted poppler-utils"
[ -z "$wanted" ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "not installed:$wanted (tests that need them will skip; as root: apt-get install$wanted)"
  exit 0
fi
echo "installing$wanted"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq && apt-get install -y -qq --no-install-recommends $wanted >/dev/null || \
  echo "could not install$wanted; tests that need them will skip"
# Debian starts its Orthanc and its Prometheus at once; the tests start their own, or need none.
command -v service >/dev/null 2>&1 && service orthanc stop >/dev/null 2>&1
command -v service >/dev/null 2>&1 && service prometheus stop >/dev/null 2>&1
exit 0
