# shellcheck shell=bash
# Sourced by deploy/quickstart.sh and tests/support/peers.sh: installs Debian packages that are missing, and nothing else.
#
# Guarantees: no installed package is upgraded, replaced or removed; if apt cannot do without, nothing is installed and
# the reason is shown. What will be installed, and why, is on the screen before it happens.
#
# A need is "test|packages|why". The test is a command, a file (leading /), or an installed package (leading dpkg:).

have() {
    case $1 in
        /*) [ -e "$1" ] ;;
        dpkg:*) [ "$(dpkg-query -W -f='${db:Status-Status}' "${1#dpkg:}" 2>/dev/null)" = installed ] ;;
        *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

# Sets `missing` to the packages behind the needs that are not met, and `reasons` to a line on each.
find_missing() {
    missing=() reasons=()
    local need test packages why
    for need in "$@"; do
        IFS='|' read -r test packages why <<<"$need"
        have "$test" && continue
        reasons+=("$(printf '  %-34s %s' "$packages" "$why")")
        # Several packages may stand behind one need.
        read -ra packages <<<"$packages"
        missing+=("${packages[@]}")
    done
}

# Says so where nobody has tried this; 69 where there is no apt at all.
require_apt() {
    local system=unknown name="this system"
    if [ -r /etc/os-release ]; then
        system=$(. /etc/os-release && echo "${ID:-unknown} ${VERSION_ID:-}")
        name=$(. /etc/os-release && echo "${PRETTY_NAME:-$system}")
    fi
    if ! have apt-get || ! have dpkg-query; then
        echo "No apt-get here ($name): install the equivalents by hand." >&2
        return 69
    fi
    case $system in
        "debian 12" | "debian 13") ;;
        *) echo "Note: tried on Debian 12 and 13; $name is untried. Going on." ;;
    esac
}

apt_lists_refreshed=no

# refresh_apt_lists LOG: a fresh container knows no packages at all, and a stale list names files that are gone.
refresh_apt_lists() {
    [ $apt_lists_refreshed = no ] || return 0
    if ! apt-get -q update >"$1" 2>&1; then
        cat "$1" >&2
        echo "apt-get update did not work: see above." >&2
        return 69
    fi
    apt_lists_refreshed=yes
}

# write_pins FILE: packages from one source often need each other in the same version (libssl-dev wants exactly its
# libssl3). Pinning every source to what is installed lets apt choose the matching version instead of an upgrade.
# Packages numbered apart from their source are left out; install_packages checks apt's plan in any case.
write_pins() {
    dpkg-query -W -f='${db:Status-Status} ${source:Package} ${source:Version} ${Version}\n' |
        awk '$1 == "installed" && $3 == $4 { print $2, $3 }' | sort -u |
        awk '{ printf "Package: src:%s\nPin: version %s\nPin-Priority: 1001\n\n", $1, $2 }' >"$1"
    # This file takes the place of the operator's own, so it carries that as well.
    [ ! -r /etc/apt/preferences ] || cat /etc/apt/preferences >>"$1"
}

# install_packages WORK PACKAGE...: as root only; WORK is a private folder for pins and logs.
install_packages() {
    local work=$1 plan touched
    shift
    local apt=(apt-get -q -y --no-install-recommends --no-remove -o "Dir::Etc::Preferences=$work/pins")
    export DEBIAN_FRONTEND=noninteractive
    refresh_apt_lists "$work/log" || return
    write_pins "$work/pins"

    plan=$("${apt[@]}" -s install "$@" 2>&1) || touched=$plan
    touched=${touched-$(grep -E '^Remv |^Inst [^ ]+ \[' <<<"$plan" || true)}
    if [ -n "$touched" ]; then
        echo "$touched" >&2
        echo "Nothing was changed: apt cannot install $* without touching what is installed (above)." >&2
        echo "If you agree to that, run it by hand: apt-get install --no-install-recommends $*" >&2
        return 69
    fi
    if ! "${apt[@]}" install "$@" >"$work/log" 2>&1; then
        cat "$work/log" >&2
        return 69
    fi
}

# install_missing NEED...: 0 when all is there afterwards; 69 when it is not, with what to do.
install_missing() {
    local work result=0
    find_missing "$@"
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "Missing, to be installed with apt-get (nothing installed is replaced, no service is started):"
    printf '%s\n' "${reasons[@]}"
    require_apt || return
    if [ "$(id -u)" != 0 ]; then
        echo "Not root, so nothing was installed. Run this as root, or once by hand:" >&2
        echo "  sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        return 69
    fi
    work=$(mktemp -d)
    install_packages "$work" "${missing[@]}" || result=$?
    rm -rf "$work"
    [ $result = 0 ] || return $result
    find_missing "$@"
    if [ ${#missing[@]} -gt 0 ]; then
        echo "Still missing after the installation: ${missing[*]}" >&2
        return 69
    fi
}
