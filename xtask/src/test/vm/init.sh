#!/busybox sh
# The first process of the virtual machine: gives it the machine's own files, to be
# read only, with empty folders where programs write, and goes on as session.sh
# there. $kept: folders that are to be seen even so; $modules: the kernel's.
# Whatever fails ends the virtual machine.
set -e
/busybox mkdir -p /bin /sbin /proc /sys /dev /host /machine
/busybox --install -s /bin
export PATH=/bin
. /settings
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in virtio_pci 9pnet_virtio 9p; do
    modprobe "$module"
done
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose host /host

mount --bind /host /machine
for folder in /tmp /run /var/lib; do
    mount -t tmpfs -o mode=1777 tmpfs "/machine$folder"
done
for folder in "$@"; do
    mkdir -p "/machine$folder"
    mount --bind "/host$folder" "/machine$folder"
done
for folder in /proc /sys /dev; do
    mount --move "$folder" "/machine$folder"
done
mkdir -p /machine/dev/shm /machine/dev/pts
mount -t tmpfs shm /machine/dev/shm
mount -t devpts pts /machine/dev/pts
mount -t bpf bpf /machine/sys/fs/bpf
mount -t cgroup2 cgroup /machine/sys/fs/cgroup
ifconfig lo 127.0.0.1 up

# The kernel loads what it lacks by this, from a root of its own: the machine's has
# no modules of this kernel.
boot=/machine/run/boot
mkdir -p $boot/bin $boot/lib/modules
cp /busybox $boot/bin/busybox
mount --bind "/host$modules" $boot/lib/modules
cat >$boot/modprobe <<'END'
#!/run/boot/bin/busybox sh
exec /run/boot/bin/busybox chroot /run/boot /bin/busybox modprobe "$@"
END
chmod 755 $boot/modprobe
echo /run/boot/modprobe >/machine/proc/sys/kernel/modprobe
cp /session.sh /settings $boot/
exec switch_root /machine /run/boot/bin/busybox sh /run/boot/session.sh
