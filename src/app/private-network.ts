import { execFile } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { EnvironmentError, messageOf } from '#base/mod.ts';

const execute = promisify(execFile);

/** The bridge of the demonstration's network and our address on it. */
export const DEMO_BRIDGE = 'br0';
export const DEMO_ADDRESS = '10.77.0.1/24';

const TUN = '/dev/net/tun';

/**
 * Tries what the demonstration will need, before its image is built for a minute: namespaces, and
 * the device that taps are made with. Throws EnvironmentError `namespace`, `no-tun`.
 */
export async function checkPrivateNetwork(isRoot: boolean, tun = TUN): Promise<void> {
  const [command = '', ...args] = inPrivateNamespace(['true'], isRoot);
  try {
    await execute(command, args);
  } catch (cause) {
    const what = 'this host does not let us make a private network';
    const todo = isRoot
      ? 'in a container, give it the right to make namespaces (docker run --privileged)'
      : 'run as root: sudo ./polyboot demo';
    throw new EnvironmentError('namespace', { what, why: messageOf(cause), todo }, { cause });
  }
  try {
    closeSync(openSync(tun, 'r+'));
  } catch (cause) {
    const what = `${tun}, by which a virtual machine joins a network, cannot be opened`;
    const todo = isRoot
      ? 'modprobe tun; a container needs the device too (docker run --device /dev/net/tun)'
      : 'run as root: sudo ./polyboot demo';
    throw new EnvironmentError('no-tun', { what, why: messageOf(cause), todo }, { cause });
  }
}

/** A network that exists only in this process's own namespace: a bridge with an address. */
export async function makeBridge(): Promise<void> {
  await ip('link', 'set', 'lo', 'up');
  // Spanning tree would keep a port silent for 30 s after link-up.
  await ip('link', 'add', DEMO_BRIDGE, 'type', 'bridge', 'stp_state', '0', 'forward_delay', '0');
  await ip('addr', 'add', DEMO_ADDRESS, 'dev', DEMO_BRIDGE);
  await ip('link', 'set', DEMO_BRIDGE, 'up');
}

/** Plugs a tap for one virtual machine into the bridge. */
export async function addTap(name: string): Promise<void> {
  await ip('tuntap', 'add', name, 'mode', 'tap');
  await ip('link', 'set', name, 'master', DEMO_BRIDGE, 'up');
}

/**
 * True when this process is in a network namespace with nothing but the loopback: the only place
 * where a demonstration may start a DHCP server.
 */
export function isAlone(): boolean {
  const lines = readFileSync('/proc/net/dev', 'utf8').trim().split('\n').slice(2);
  return lines.every((l) => l.trim().startsWith('lo:'));
}

/**
 * The command that runs `argv` in a network namespace of its own: directly as root, otherwise in a
 * user namespace where the caller looks like root.
 */
export function inPrivateNamespace(argv: readonly string[], isRoot: boolean): readonly string[] {
  const user = isRoot ? [] : ['--user', '--map-root-user'];
  // --kill-child: the demonstration dies with the terminal it was started from.
  return ['unshare', ...user, '--net', '--mount', '--fork', '--kill-child', ...argv];
}

async function ip(...args: string[]): Promise<void> {
  try {
    await execute('ip', args);
  } catch (e) {
    throw new EnvironmentError(
      'private-network',
      {
        what: `cannot make the private network: ip ${args.join(' ')}`,
        why: messageOf(e),
        todo: 'install iproute2, or run as root',
      },
      { cause: e },
    );
  }
}
