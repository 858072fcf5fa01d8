import { EnvironmentError, type Explanation } from '#base/mod.ts';

/** What QEMU prints when it cannot start, and what a person should do about it. */
const KNOWN: readonly {
  readonly pattern: RegExp;
  readonly code: string;
  readonly explanation: Explanation;
}[] = [
  {
    pattern: /could not (?:configure|open) \/dev\/net\/tun/i,
    code: 'tap-forbidden',
    explanation: {
      what: 'The virtual machine may not use its network tap.',
      todo: 'Run as root, or make the tap for this user: ip tuntap add NAME mode tap user $USER',
    },
  },
  {
    pattern: /Failed to get .*lock|Is another process using the image/,
    code: 'image-in-use',
    explanation: {
      what: 'Another program is using the disk image.',
      todo: 'End it, or give this machine its own copy.',
    },
  },
  {
    pattern: /Unknown driver '?iscsi|driver 'iscsi' is not|iSCSI.*not supported|block-iscsi/i,
    code: 'qemu-iscsi-missing',
    explanation: {
      what: 'This QEMU cannot attach iSCSI disks.',
      todo: 'Install its driver: apt-get install qemu-block-extra',
    },
  },
  {
    pattern: /Could not access KVM|failed to initialize kvm/i,
    code: 'kvm-unusable',
    explanation: {
      what: 'The host does not let virtual machines use KVM.',
      todo: 'Run the machine with accel "tcg".',
    },
  },
  {
    pattern: /cannot set up guest memory|Cannot allocate memory/i,
    code: 'no-memory',
    explanation: {
      what: 'There is not enough memory for the virtual machine.',
      todo: 'Give the machine less memory, or end other programs.',
    },
  },
  {
    pattern: /Address already in use/i,
    code: 'port-taken',
    explanation: {
      what: 'The port of the virtual machine’s screen is taken.',
      todo: 'Choose another port, or a Unix socket.',
    },
  },
];

/** The error for a QEMU that ended before it greeted: what it printed, made readable. */
export function startFailure(stderr: string, command: string): EnvironmentError {
  const printed = stderr.trim() === '' ? 'It printed nothing.' : stderr.trim().slice(-2_000);
  const known = KNOWN.find((k) => k.pattern.test(stderr));
  if (known !== undefined) {
    return new EnvironmentError(known.code, { ...known.explanation, why: printed });
  }
  return new EnvironmentError('qemu-start', {
    what: 'The virtual machine did not start.',
    why: printed,
    todo: `Run the command by hand: ${command}`,
  });
}
