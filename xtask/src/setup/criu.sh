# Unpacks CRIU from Debian's newest suite into the folder $1, with the libraries
# it takes, and makes the program $2 that runs it with them. Begins with suite.sh.

program=$2
take_suite "$1" sid
packages=$(with_dependencies criu)
# shellcheck disable=SC2086 # one word for each package
download $packages
for package in "$into"/apt/packages/*.deb; do
    dpkg -x "$package" "$into"
done
forget_suite
cd "$into"

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
