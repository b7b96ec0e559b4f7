# Unpacks CRIU from Debian's newest suite into the folder $1, with the libraries
# it takes, and makes the program $2 that runs it with them. The system's own
# packages stay as they are. Run by cargo xtask setup; takes no root's rights.
set -eu
PATH=$PATH:/usr/sbin:/sbin

into=$1
program=$2
suite=sid
keys=/usr/share/keyrings/debian-archive-keyring.gpg

rm -rf "$into"
mkdir -p "$into/apt/lists/partial" "$into/apt/sources" "$into/apt/packages"

# apt with lists of its own: what the system installs from is not touched.
suites_apt() {
    command=$1
    shift
    "$command" -q -o Dir::Etc::sourcelist=/dev/null \
        -o Dir::Etc::sourceparts="$into/apt/sources" -o Dir::State::Lists="$into/apt/lists" \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= -o APT::Sandbox::User= \
        -o Acquire::Languages=none -o Acquire::Retries=3 \
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false "$@"
}

# The archive is one of those where this machine's own apt has packages for its
# release from; the keys tell which of them is Debian's.
codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
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

packages=$(suites_apt apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts \
    --no-breaks --no-replaces --no-enhances criu | grep '^[a-z0-9]')
cd "$into/apt/packages"
# shellcheck disable=SC2086 # one word for each package
suites_apt apt-get download $packages
for package in *.deb; do
    dpkg -x "$package" "$into"
done
cd "$into"
rm -rf apt

# Relative to the program, so that both may move.
loader=$(echo usr/lib/*-linux-gnu*/ld-linux*.so.*)
mkdir -p "$(dirname "$program")"
cat >"$program.new" <<END
#!/bin/sh
# CRIU with its own libraries; made by cargo xtask setup.
root=\${0%/*}/../criu
exec "\$root/$loader" --library-path "\$root/$(dirname "$loader")" "\$root/usr/sbin/criu" "\$@"
END
chmod 755 "$program.new"
mv "$program.new" "$program"
"$program" --version
