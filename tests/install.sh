#!/bin/sh
# Installs what the tests need and a Rust toolchain does not bring. As root it uses apt-get;
# otherwise, or elsewhere, it says what to install.
set -eu

missing=""
need() { # program, package
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need python3 python3
python3 -c 'import ensurepip' >/dev/null 2>&1 || missing="$missing python3-venv"

[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# Servers are started by the tests themselves, never as services of the machine.
	# shellcheck disable=SC2086
	RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
	echo "The tests need these packages, please install them:$missing" >&2
	exit 1
fi
