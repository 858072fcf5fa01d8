import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';
import { EnvironmentError } from '#base/mod.ts';
import type { MachineSpec } from './spec.ts';

const execute = promisify(execFile);

/** Programs this folder starts, and the Debian package each comes from. */
const PACKAGES = {
  'qemu-system-x86_64': 'qemu-system-x86',
  setpriv: 'util-linux',
  ip: 'iproute2',
} as const;

type Program = keyof typeof PACKAGES;

/** The path of a program. Throws EnvironmentError `program-missing` that names the package. */
export function findProgram(name: Program, path = process.env['PATH'] ?? ''): string {
  // /usr/sbin is not on the PATH of an ordinary Debian user, and `ip` lives there on some systems.
  const folders = [...path.split(delimiter), '/usr/sbin', '/sbin'].filter((f) => f !== '');
  const found = folders.map((f) => join(f, name)).find(isExecutable);
  if (found !== undefined) return found;
  throw new EnvironmentError('program-missing', {
    what: `The program ${name} is not installed.`,
    why: `A virtual machine needs it; it is in none of ${folders.join(', ')}.`,
    todo: `Install it: apt-get install ${PACKAGES[name]}`,
  });
}

/** A private folder for one machine's sockets and files. Throws EnvironmentError. */
export async function makeRunFolder(parent = tmpdir()): Promise<string> {
  // A Unix socket's path has at most 107 bytes (unix(7)); the longest name below is serial.sock.
  const longest = join(parent, 'polyboot-vm-XXXXXX', 'serial.sock');
  if (Buffer.byteLength(longest) > 107) {
    throw new EnvironmentError('run-folder', {
      what: `The path of the temporary folder ${parent} is too long for Unix sockets.`,
      todo: 'Set TMPDIR to a shorter path, such as /tmp.',
    });
  }
  return await mkdtemp(join(parent, 'polyboot-vm-'));
}

/**
 * Checks what QEMU itself would not say or would say badly: each tap must exist already (as root
 * QEMU would make a new one, plugged into nothing), each file must be readable. Throws
 * EnvironmentError.
 */
export async function checkHost(spec: MachineSpec, namespace: string | undefined): Promise<void> {
  for (const nic of spec.nics ?? []) {
    if (nic.backend.kind === 'tap') await checkTap(nic.backend.name, namespace);
    if (nic.romFile !== undefined && nic.romFile !== '') checkFile('boot ROM', nic.romFile);
  }
  for (const drive of spec.drives ?? []) {
    if (drive.source?.kind === 'file') checkFile(`medium of ${drive.id}`, drive.source.path);
  }
  if (spec.kernel !== undefined) checkFile('kernel', spec.kernel.path);
  if (spec.kernel?.initrd !== undefined) checkFile('initrd', spec.kernel.initrd);
}

async function checkTap(name: string, namespace: string | undefined): Promise<void> {
  const where = namespace === undefined ? [] : ['-n', namespace];
  try {
    await execute(findProgram('ip'), [...where, '-o', 'link', 'show', 'dev', name]);
  } catch (cause) {
    if (cause instanceof EnvironmentError) throw cause;
    throw new EnvironmentError(
      'tap-missing',
      {
        what: `There is no network interface ${name}${inNamespace(namespace)}.`,
        why: 'A virtual machine plugs into a tap that exists and belongs to a bridge.',
        todo: `Make it: ip tuntap add ${name} mode tap && ip link set ${name} master BRIDGE up`,
      },
      { cause },
    );
  }
}

function inNamespace(namespace: string | undefined): string {
  return namespace === undefined ? '' : ` in the network namespace ${namespace}`;
}

function checkFile(what: string, path: string): void {
  try {
    accessSync(path, constants.R_OK);
  } catch (cause) {
    throw new EnvironmentError(
      'vm-file',
      { what: `The ${what}, ${path}, cannot be read.`, todo: 'Check the path and its rights.' },
      { cause },
    );
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
