import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { EnvironmentError, messageOf } from '#base/mod.ts';

const execute = promisify(execFile);

/** The bridge of the demonstration's network and our address on it. */
export const DEMO_BRIDGE = 'br0';
export const DEMO_ADDRESS = '10.77.0.1/24';

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
        todo: 'install iproute2; where user namespaces are forbidden, run as root',
      },
      { cause: e },
    );
  }
}
