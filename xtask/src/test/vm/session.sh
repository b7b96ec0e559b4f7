# Runs the job in the virtual machine, and ends that with how the job ended.
. /run/boot/settings
out=/dev/ttyS1
# As it is written, without the ways of terminals.
/run/boot/bin/busybox stty -F $out raw -echo
echo "up: $(uname -sr)" >$out
word='\021'
job </dev/null >$out 2>&1 && word='\020'
# Waits until all is said.
/run/boot/bin/busybox stty -F $out raw -echo
printf "$word" | /run/boot/bin/busybox dd of=/dev/port bs=1 seek=$exit_port 2>/dev/null
