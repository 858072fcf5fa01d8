import type { TarEntry } from '../tar.ts';
import type { DebianPlan } from './debian-options.ts';

/** Folder inside the root with what the customisation reads and then removes. */
export const SETUP_FOLDER = '.polyboot-setup';

/** Kernel command line of every built system. */
export function kernelCommandLine(label: string): string {
  return `root=LABEL=${label} ro ip=dhcp iscsi_auto console=tty0 console=ttyS0,115200`;
}

const MULTI_USER = '/usr/lib/systemd/system/multi-user.target';
/** Work at every boot that a machine without a disk of its own does not need. */
const QUIET_UNITS = [
  'apt-daily.timer',
  'apt-daily-upgrade.timer',
  'e2scrub_all.timer',
  'e2scrub_reap.service',
];

function off(unit: string): TarEntry {
  return { path: `etc/systemd/system/${unit}`, mode: 0o777, linkTo: '/dev/null' };
}

/** Everything that makes a base into one machine's root, as archive entries. */
export function rootFiles(plan: DebianPlan, label: string): TarEntry[] {
  const file = (path: string, content: string, mode = 0o644): TarEntry => ({ path, mode, content });
  const folder = (path: string, mode = 0o755): TarEntry => ({ path, mode });
  const wants = 'etc/systemd/system/multi-user.target.wants';
  const link = '../polyboot-report.service';
  const ready: TarEntry = { path: `${wants}/polyboot-report.service`, mode: 0o777, linkTo: link };
  return [
    file('etc/hostname', `${plan.hostName}\n`),
    file('etc/hosts', `127.0.0.1 localhost\n127.0.1.1 ${plan.hostName}\n::1 localhost\n`),
    file('etc/fstab', `LABEL=${label} / ext4 defaults,_netdev 0 1\n`),
    // Empty: systemd makes one at the first boot, so that no two machines share it.
    file('etc/machine-id', ''),
    // The iBFT names the initiator of the root disk; for anything else each machine makes its own.
    file('etc/iscsi/initiatorname.iscsi', 'GenerateName=yes\n', 0o600),
    folder('etc/systemd/system/iscsid.service.d'),
    file('etc/systemd/system/iscsid.service.d/polyboot.conf', ISCSID_DROP_IN),
    folder('etc/polyboot'),
    file('etc/polyboot/report-port', `${plan.reportPort}\n`),
    folder('usr/lib/polyboot'),
    file('usr/lib/polyboot/report', REPORT_SCRIPT, 0o755),
    file('etc/systemd/system/polyboot-report.service', REPORT_UNIT),
    folder(wants),
    ready,
    ...QUIET_UNITS.map((unit) => off(unit)),
    { path: 'etc/systemd/system/default.target', mode: 0o777, linkTo: MULTI_USER },
    folder('boot/grub'),
    file('boot/grub/grub.cfg', grubConfig(plan.data.title, label)),
    ...firstBootFiles(plan),
    ...sshFiles(plan),
    ...setupFiles(plan),
  ];
}

/**
 * The owner's script: once, when the network is up, and again at the next boot if it failed. What
 * it says goes to the console, where somebody who waits for it looks.
 */
function firstBootFiles(plan: DebianPlan): TarEntry[] {
  if (plan.firstBoot === undefined) return [];
  const wants = 'etc/systemd/system/multi-user.target.wants/polyboot-first-boot.service';
  return [
    { path: 'usr/lib/polyboot/first-boot', mode: 0o700, content: plan.firstBoot },
    { path: 'usr/lib/polyboot/first-boot-run', mode: 0o755, content: FIRST_BOOT_RUN },
    {
      path: 'etc/systemd/system/polyboot-first-boot.service',
      mode: 0o644,
      content: FIRST_BOOT_UNIT,
    },
    { path: wants, mode: 0o777, linkTo: '../polyboot-first-boot.service' },
  ];
}

function sshFiles(plan: DebianPlan): TarEntry[] {
  if (!plan.ssh) return [];
  return [
    { path: 'etc/systemd/system/ssh.service.d', mode: 0o755 },
    { path: 'etc/systemd/system/ssh.service.d/polyboot.conf', mode: 0o644, content: SSH_KEYS_UNIT },
  ];
}

/** Users, passwords and keys: read by `CUSTOMISE_SCRIPT`, never left in the image. */
function setupFiles(plan: DebianPlan): TarEntry[] {
  const secret = (name: string, content: string): TarEntry => ({
    path: `${SETUP_FOLDER}/${name}`,
    mode: 0o600,
    content,
  });
  const lines = (all: readonly string[]): string => all.map((l) => `${l}\n`).join('');
  const passwords = plan.users.flatMap((u) =>
    u.password === undefined ? [] : [`${u.name}:${u.password}`],
  );
  if (plan.rootPassword !== undefined) passwords.push(`root:${plan.rootPassword}`);
  const keys = [...plan.users, { name: 'root', sshKeys: plan.rootKeys }];
  return [
    { path: SETUP_FOLDER, mode: 0o700 },
    { path: `${SETUP_FOLDER}/keys`, mode: 0o700 },
    secret('users', lines(plan.users.map((u) => u.name))),
    secret('passwords', lines(passwords)),
    secret('root-password', plan.rootPassword === undefined ? 'none' : 'set'),
    ...keys
      .filter((u) => (u.sshKeys ?? []).length > 0)
      .map((u) => secret(`keys/${u.name}`, lines(u.sshKeys ?? []))),
  ];
}

function grubConfig(title: string, label: string): string {
  return `serial --unit=0 --speed=115200
terminal_output console serial
terminal_input console serial
set timeout=0
search --no-floppy --label ${label} --set root
menuentry "${title}" {
  linux /vmlinuz ${kernelCommandLine(label)}
  initrd /initrd.img
}
menuentry "${title}, the kernel before" {
  linux /vmlinuz.old ${kernelCommandLine(label)}
  initrd /initrd.img.old
}
`;
}

const REPORT_UNIT = `[Unit]
Description=Tell the boot server that this machine is up
After=systemd-user-sessions.service network.target

[Service]
Type=oneshot
ExecStart=/usr/lib/polyboot/report

[Install]
WantedBy=multi-user.target
`;

/** On every console, as `REPORT_SCRIPT` does: trixie's systemd shows a unit's output on none. */
const FIRST_BOOT_RUN = `#!/bin/sh
{
  /usr/lib/polyboot/first-boot 2>&1
  echo "first-boot ended with $?"
} | while IFS= read -r line; do
  echo "$line"
  for console in $(cat /sys/class/tty/console/active 2>/dev/null || echo console); do
    echo "$line" > "/dev/$console" 2>/dev/null
  done
  [ "$line" != "first-boot ended with 0" ] || touch /run/polyboot-first-boot-well
done
[ -e /run/polyboot-first-boot-well ]
`;

const FIRST_BOOT_UNIT = `[Unit]
Description=The first-boot script of this image
After=polyboot-report.service network-online.target
ConditionPathExists=!/var/lib/polyboot/first-boot-done

[Service]
Type=oneshot
ExecStart=/usr/lib/polyboot/first-boot-run
ExecStartPost=/bin/mkdir -p /var/lib/polyboot
ExecStartPost=/bin/touch /var/lib/polyboot/first-boot-done
TimeoutStartSec=infinity

[Install]
WantedBy=multi-user.target
`;

// iscsid drops and re-opens the session of the root disk when it starts. With CHAP its first digest
// makes OpenSSL read its configuration, from that very disk: a deadlock, and two minutes later the
// root is read-only. Nothing iscsid needs is in that file.
const ISCSID_DROP_IN = `[Service]
Environment=OPENSSL_CONF=/dev/null
`;

// Host keys are made on each machine: an image that many boot must not bring its own.
const SSH_KEYS_UNIT = `[Service]
ExecStartPre=
ExecStartPre=/usr/bin/ssh-keygen -A
ExecStartPre=/usr/sbin/sshd -t
`;

/**
 * Says on the consoles that the system is up, then tells the server from which it booted. Where the
 * server is: \`polyboot.report=URL\` on the kernel command line, else the iSCSI portal that the
 * iBFT names. Nothing here can fail the boot.
 */
const REPORT_SCRIPT = `#!/bin/sh
root=$(findmnt -no SOURCE / 2>/dev/null || echo unknown)
firmware=bios
[ -d /sys/firmware/efi ] && firmware=efi
line="POLYBOOT-READY root=$root kernel=$(uname -r) firmware=$firmware"
for console in $(cat /sys/class/tty/console/active 2>/dev/null || echo console); do
  echo "$line" > "/dev/$console" 2>/dev/null
done

# The initramfs has asked DHCP; its name servers are noted for the running system.
if [ ! -s /etc/resolv.conf ]; then
  for conf in /run/net-*.conf; do
    [ -f "$conf" ] || continue
    sed -n "s/^IPV4DNS[01]='\\\\(.*\\\\)'/nameserver \\\\1/p" "$conf" | grep -v ' 0[.]0[.]0[.]0$'
  done > /etc/resolv.conf 2>/dev/null
fi

ibft=/sys/firmware/ibft
[ -d $ibft ] || modprobe -q iscsi_ibft 2>/dev/null
server=$(cat $ibft/target0/ip-addr 2>/dev/null)
mac=$(cat $ibft/ethernet0/mac 2>/dev/null)
if [ -z "$mac" ]; then
  for nic in /sys/class/net/*; do
    [ -e "$nic/device" ] && mac=$(cat "$nic/address") && break
  done
fi
url=$(sed -n 's/.*polyboot[.]report=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
if [ -z "$url" ]; then
  [ -n "$server" ] || exit 0
  case $server in *:*) server="[$server]" ;; esac
  port=$(cat /etc/polyboot/report-port 2>/dev/null)
  url="http://$server:\${port:-8080}/boot/report"
fi
uptime=$(cut -d' ' -f1 /proc/uptime)
query="stage=ready&mac=$mac&root=$root&kernel=$(uname -r)&firmware=$firmware&uptime=$uptime"
query=$(printf %s "$query" | tr -c 'A-Za-z0-9=&/:._-' _)
for try in 1 2 3; do
  # timeout, because the -T of Debian 12's static busybox crashes it.
  timeout 5 busybox wget -q -O /dev/null "$url?$query" 2>/dev/null && exit 0
  sleep 2
done
exit 0
`;

/**
 * Unpacks base (fd 4) and overlay (fd 5) into a folder of its own, adds users, and makes the root
 * file system inside the image (fd 3) at OFFSET, without mounting anything. Runs as root, or as
 * root of a user namespace: then the other files of the invoking user are reachable by descriptor
 * only.
 */
export const CUSTOMISE_SCRIPT = `set -eu
umask 022
R=$(mktemp -d "\${TMPDIR:-/var/tmp}/polyboot-root-XXXXXX")
trap 'rm -rf "$R"' EXIT
trap 'exit 143' TERM INT HUP
chmod 755 "$R"
echo "unpacking"
# Nobody may make device nodes in a user namespace; the kernel makes them at boot.
tar -C "$R" --anchored --exclude='./dev/*' --numeric-owner --xattrs --xattrs-include='*' \\
  -xpf - <&4
tar -C "$R" --numeric-owner --no-overwrite-dir -xpf - <&5
# A boot server may be away for long; by default every write of the root fails after two minutes.
sed -i 's/^\\(node.session.timeo.replacement_timeout = \\).*/\\186400/' "$R/etc/iscsi/iscsid.conf"
S="$R/${SETUP_FOLDER}"
[ "$(cat "$S/root-password")" = set ] || chroot "$R" passwd -q -d root
while IFS= read -r user; do
  chroot "$R" useradd -m -s /bin/bash "$user" < /dev/null
done < "$S/users"
if [ -s "$S/passwords" ]; then chroot "$R" chpasswd < "$S/passwords"; fi
for keys in "$S"/keys/*; do
  [ -f "$keys" ] || continue
  user=$(basename "$keys")
  home=$(chroot "$R" getent passwd "$user" | cut -d: -f6)
  install -d -m 700 "$R$home/.ssh"
  install -m 600 "$keys" "$R$home/.ssh/authorized_keys"
  chroot "$R" chown -R "$user:" "$home/.ssh"
done
rm -rf "$S"
used=$(du -sxk "$R" | cut -f1)
if [ "$used" -gt $((SIZE_KIB - SIZE_KIB / 20 - 32768)) ]; then
  echo "POLYBOOT-NEEDS $used" >&2
  exit 75
fi
echo "writing the file system"
mke2fs -q -F -t ext4 -L "$LABEL" -U "$FS_UUID" -m 1 -d "$R" \\
  -O ^metadata_csum_seed,^orphan_file \\
  -E offset="$OFFSET",nodiscard,assume_storage_prezeroed=1,hash_seed="$FS_UUID" \\
  /proc/self/fd/3 "\${SIZE_KIB}k"
`;
