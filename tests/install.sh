#!/bin/sh
# Installs what the tests need and a Rust toolchain does not bring. As root it uses apt-get;
# otherwise, or elsewhere, it says what to install.
set -eu

missing=""
need() { # program, package
	command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need redis-server redis-server
need python3 python3
python3 -c 'import ensurepip' >/dev/null 2>&1 || missing="$missing python3-venv"

[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# The tests start servers of their own; none is to run as a service of the machine.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod +x "$policy"
		trap 'rm -f "$policy"' EXIT
	fi
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
	echo "The tests need these packages, please install them:$missing" >&2
	exit 1
fi
