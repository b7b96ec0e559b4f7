# Unpacks packages of Debian without installing them: the system's own stay as
# they are. Begins what cargo xtask setup runs; takes no root's rights.
set -eu
PATH=$PATH:/usr/sbin:/sbin

keys=/usr/share/keyrings/debian-archive-keyring.gpg

# Makes the folder $1 anew, and has suites_apt know what is in Debian's suite $2
# until forget_suite is called.
take_suite() {
    into=$1
    suite=$2
    rm -rf "$into"
    mkdir -p "$into/apt/lists/partial" "$into/apt/sources" "$into/apt/packages"

    # The archive is one of those where this machine's own apt has packages for its
    # release from; the keys tell which of them is Debian's.
    codename=$(own_suite)
    archives=$(apt-get --print-uris update |
        sed -nE "s#^'(.*)/dists/($codename|stable)/InRelease' .*#\1#p")
    found=
    for archive in $archives; do
        echo "deb [signed-by=$keys] $archive $suite main" >"$into/apt/sources/$suite.list"
        if suites_apt apt-get update; then
            found=$archive
            break
        fi
    done
    if [ -z "$found" ]; then
        echo "none of apt's sources for $codename is Debian's: cannot tell where $suite is" >&2
        exit 1
    fi
}

# apt with lists of its own, to which nothing is installed: what the system has is
# not touched.
suites_apt() {
    command=$1
    shift
    "$command" -q -o Dir::Etc::sourcelist=/dev/null \
        -o Dir::Etc::sourceparts="$into/apt/sources" -o Dir::State::Lists="$into/apt/lists" \
        -o Dir::State::status=/dev/null \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User= \
        -o Acquire::Languages=none -o Acquire::Retries=3 \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

# The name of this system's own suite.
own_suite() {
    (. /etc/os-release && echo "$VERSION_CODENAME")
}

# The package $1 and all that it takes, one a line.
with_dependencies() {
    suites_apt apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts \
        --no-breaks --no-replaces --no-enhances "$1" | grep '^[a-z0-9]'
}

# Brings the packages named as arguments to the folder $into/apt/packages.
download() {
    (cd "$into/apt/packages" && suites_apt apt-get download "$@")
}

forget_suite() {
    rm -rf "$into/apt"
}
