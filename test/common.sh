# common.sh
#     What test/run and test/demo share: building, installing, and running
#     things as a user whom PostgreSQL accepts.
#
# It must be read with "." by a script that has set top (the project's folder)
# and me (its own name), under "set -eu".
# shellcheck shell=sh disable=SC2154,SC2034

PG_CONFIG=${PG_CONFIG:-pg_config}
MAKE=${MAKE:-make}

die()
{
	echo "$me: $*" >&2
	exit 1
}

say()
{
	echo "== $*"
}

# Whoever runs servers: the caller, or somebody else if that is root.
choose_user()
{
	user=$(id -un)
	if [ "$(id -u)" = 0 ]; then
		user=nobody
		if id postgres >/dev/null 2>&1; then
			user=postgres
		fi
	fi
}

# Run a command as that user, with the environment as it is.
as_user()
{
	if [ "$(id -u)" = 0 ]; then
		runuser -u "$user" -- "$@"
	else
		"$@"
	fi
}

# Build, and install into the server that pg_config names; $1: flags of the
# compiler beside the usual ones and those of COPT.
build_and_install()
{
	copt="${COPT:-} ${1:-}"
	bindir=$("$PG_CONFIG" --bindir)
	sudo=
	if [ ! -w "$("$PG_CONFIG" --pkglibdir)" ] ||
		[ ! -w "$("$PG_CONFIG" --sharedir)/extension" ]; then
		sudo=sudo
	fi
	say "building for $("$PG_CONFIG" --version)"
	"$MAKE" -s -j"$(getconf _NPROCESSORS_ONLN)" -C "$top" all \
		PG_CONFIG="$PG_CONFIG" COPT="$copt"
	say "installing${sudo:+ (with sudo)}"
	$sudo "$MAKE" -s -C "$top" install PG_CONFIG="$PG_CONFIG" COPT="$copt"
}

# Print a path that the user can read and that holds what $1 holds: $1 itself,
# or a copy of it at $2, as old as it is.
readable_copy()
{
	if as_user test -r "$1" && { [ ! -d "$1" ] || as_user test -x "$1"; }; then
		echo "$1"
	else
		cp -RLp "$1" "$2"
		chmod -R a+rX "$2"
		echo "$2"
	fi
}
