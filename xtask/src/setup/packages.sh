# Installs the Debian packages named as arguments without starting the services
# they bring; $SERVICES names those, which shall not start with the machine
# either. Run by cargo xtask setup, as root.
set -eu
PATH=$PATH:/usr/sbin:/sbin

policy=/usr/sbin/policy-rc.d
wait_for_locks='-o DPkg::Lock::Timeout=600'

# One setup at a time: the first would take the policy away from the second.
exec 9>/run/lock/redirectd-setup.lock
flock 9

if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' HUP TERM
    # 101: the action is forbidden (invoke-rc.d's interface).
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

# apt-get update does not wait for another one by itself.
tries=0
until apt-get update -q; do
    tries=$((tries + 1))
    [ "$tries" -lt 6 ] || exit 1
    sleep 10
done

export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # two words
apt-get install -q -y --no-install-recommends $wait_for_locks -o Dpkg::Use-Pty=0 "$@"

for service in ${SERVICES:-}; do
    update-rc.d "$service" disable
done
