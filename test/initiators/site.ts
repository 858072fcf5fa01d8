import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { messageOf } from '#base/mod.ts';
import { need } from '../lab/need.ts';
import { Lab } from '../lab/netns.ts';
import { run } from '../lab/process.ts';
import { InitiatorGuest, type GuestPort } from './guest.ts';

/** The lab's two networks: the server's address in each, and the guest's. */
export const NETWORKS = [
  { bridge: 'br0', server: '10.77.0.1', guest: '10.77.0.2' },
  { bridge: 'br1', server: '10.77.1.1', guest: '10.77.1.2' },
] as const;

const NEEDS = {
  root: true,
  tools: ['ip', 'qemu-system-x86_64', 'qemu-img', 'setpriv', 'debugfs', 'sgdisk', 'e2fsck'],
} as const;

/** A guest's boot, and all that is done in it, on a busy host. */
const SITE_LIMIT_MS = 45 * 60_000;

/** One guest with initiators, on two private networks with our targets. */
export type Site = {
  readonly lab: Lab;
  readonly guest: InitiatorGuest;
  /** Private; gone after the test. */
  readonly folder: string;
  /** Makes a sparse file of so many MiB; returns its path. */
  readonly disk: (name: string, sizeMib: number) => Promise<string>;
};

/** One step of a test in a site; the guest lives through all of them. */
export type Step = (name: string, body: () => Promise<void>) => Promise<void>;

/**
 * The options and the body of a test with one guest, whose steps are subtests: one boot serves them
 * all. A step that fails shows what the guest said.
 */
export function inSite(
  body: (site: Site, step: Step) => Promise<void>,
): [{ timeout: number }, (t: TestContext) => Promise<void>] {
  const scenario = async (t: TestContext): Promise<void> => {
    if (!need(t, NEEDS)) return;
    const folder = await mkdtemp(join(tmpdir(), 'polyboot-initiator-'));
    const lab = await Lab.create(`${NETWORKS[0].server}/24`);
    let guest: InitiatorGuest | undefined;
    try {
      await lab.addBridge(NETWORKS[1].bridge, `${NETWORKS[1].server}/24`);
      const ports: GuestPort[] = NETWORKS.map((n) => ({
        bridge: n.bridge,
        address: `${n.guest}/24`,
      }));
      guest = await InitiatorGuest.start(lab, folder, ports);
      await body(siteOf(lab, guest, folder), stepOf(t, guest));
    } finally {
      await guest?.machine.stop();
      await lab.close();
      await rm(folder, { recursive: true, force: true });
    }
  };
  return [{ timeout: SITE_LIMIT_MS }, scenario];
}

function siteOf(lab: Lab, guest: InitiatorGuest, folder: string): Site {
  const disk = async (name: string, sizeMib: number): Promise<string> => {
    const file = join(folder, `${name}.img`);
    await run('truncate', ['-s', `${sizeMib}M`, file]);
    return file;
  };
  return { lab, guest, folder, disk };
}

function stepOf(t: TestContext, guest: InitiatorGuest): Step {
  let failed = '';
  return async (name, body) => {
    // What a step leaves behind when it fails would only make the next ones fail too.
    const skip = failed === '' ? false : `after the failure of "${failed}"`;
    await t.test(name, { skip }, async () => {
      try {
        await body();
      } catch (cause) {
        failed = name;
        const said = guest.machine.serial.tail(40);
        throw new Error(`${messageOf(cause)}\n── guest\n${said}`, { cause });
      }
    });
  };
}
