# Unpacks what a virtual machine with this Debian's own kernel takes into the
# folder $1, and makes the program $2, which is QEMU with the libraries it takes.
# Begins with suite.sh.

program=$2
take_suite "$1" "$(own_suite)"
# This package always takes the newest kernel.
kernel=$(suites_apt apt-cache depends linux-image-amd64 |
    sed -nE 's/^ *Depends: (linux-image-[0-9].*)/\1/p' | head -n 1)
# All else in what it takes is only for installing it.
emulator=$(with_dependencies qemu-system-x86 | grep -E '^(lib|qemu|seabios|zlib)')
# shellcheck disable=SC2086 # one word for each package
download "$kernel" busybox-static $emulator

mkdir "$into/kernel" "$into/qemu"
for package in "$into"/apt/packages/*.deb; do
    case ${package##*/} in
    linux-image-*)
        # Its other modules are for devices that the machine does not have.
        modules='./lib/modules/*'
        dpkg --fsys-tarfile "$package" | tar -x -C "$into/kernel" --wildcards \
            './boot/vmlinuz-*' "$modules/modules.*" "$modules/kernel/arch" \
            "$modules/kernel/crypto" "$modules/kernel/fs" "$modules/kernel/lib" \
            "$modules/kernel/net" "$modules/kernel/drivers/net/*.ko" \
            "$modules/kernel/drivers/virtio"
        ;;
    busybox-static_*) dpkg -x "$package" "$into/busybox" ;;
    *) dpkg -x "$package" "$into/qemu" ;;
    esac
done
forget_suite
cd "$into"
busybox/bin/busybox depmod -b kernel "$(ls kernel/lib/modules)"

# Relative to the program, so that both may move.
cd qemu
loader=$(echo lib/*-linux-gnu*/ld-linux*.so.*)
libraries=$(dirname "$loader")
mkdir -p "$(dirname "$program")"
cat >"$program.new" <<END
#!/bin/sh
# QEMU with its own libraries; made by cargo xtask setup.
root=\${0%/*}/../vm/qemu
export QEMU_MODULE_DIR="\$root/usr/$libraries/qemu"
exec "\$root/$loader" --library-path "\$root/$libraries:\$root/usr/$libraries" \\
    "\$root/usr/bin/qemu-system-x86_64" -L "\$root/usr/share/qemu" \\
    -L "\$root/usr/share/seabios" "\$@"
END
chmod 755 "$program.new"
mv "$program.new" "$program"
"$program" --version
