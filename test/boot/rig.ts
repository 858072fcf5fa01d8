import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { messageOf } from '#base/mod.ts';
import { readTextScreen, type VirtualMachine } from '#vm/mod.ts';
import { need, type Needs } from '../lab/need.ts';
import { Lab } from '../lab/netns.ts';
import { GUEST_LIMIT_MS, GUEST_NEEDS, startGuest, type Guest } from '../lab/vm.ts';
import { PeerServer } from './peers.ts';
import { PolybootServer } from './polyboot.ts';
import type { BootServer, DhcpRole } from './server.ts';

/** Polyboot, or dnsmasq + nginx + tgt as packaged or tuned for speed. */
export type ServerKind = 'polyboot' | 'peers' | 'tuned-peers';

/** What a scenario differs in from the ordinary: our server as DHCP server. */
export type ScenarioOptions = {
  readonly role?: DhcpRole;
  /** Default: Polyboot, unless `POLYBOOT_BOOT_SERVER` says otherwise. */
  readonly server?: ServerKind;
  /** Beyond what every guest needs. */
  readonly needs?: Needs;
  /** Runs before the server, such as another DHCP server of the house. */
  readonly before?: (lab: Lab, folder: string) => Promise<void>;
};

/**
 * A private network with one boot server and the guests that boot from it. With
 * `POLYBOOT_BOOT_SERVER=peers` the server is dnsmasq, nginx and tgt: a scenario that fails there
 * too is wrong about its guest.
 */
export class Rig {
  readonly lab: Lab;
  readonly server: BootServer;
  /** Private; gone after the scenario. */
  readonly folder: string;
  readonly #machines: VirtualMachine[] = [];

  private constructor(lab: Lab, server: BootServer, folder: string) {
    this.lab = lab;
    this.server = server;
    this.folder = folder;
  }

  static async create(options: ScenarioOptions): Promise<Rig> {
    const folder = await mkdtemp(join(tmpdir(), 'polyboot-boot-'));
    const lab = await Lab.create();
    try {
      await options.before?.(lab, folder);
      const role = options.role ?? 'server';
      const server = await startServer(options.server ?? chosenServer(), lab, folder, role);
      return new Rig(lab, server, folder);
    } catch (e) {
      await lab.close();
      await rm(folder, { recursive: true, force: true });
      throw e;
    }
  }

  /** Our own server, for what only it can do. */
  get polyboot(): PolybootServer {
    if (this.server instanceof PolybootServer) return this.server;
    throw new Error('this scenario runs on the stock programs');
  }

  /** Starts a guest and turns it on. */
  async boot(guest: Guest): Promise<VirtualMachine> {
    const machine = await startGuest(this.lab, this.folder, guest);
    this.#machines.push(machine);
    await machine.powerOn();
    return machine;
  }

  /** What everybody said: each guest's serial line and text screen, then the server. */
  async report(): Promise<string> {
    const parts: string[] = [];
    for (const machine of this.#machines) {
      const state = machine.running ? '' : ` ended: ${(await machine.ended()).reason}`;
      parts.push(`── guest ${machine.spec.name}${state}`, machine.serial.tail(40));
      if (machine.running && machine.spec.firmware === 'bios') {
        // A guest that just ended has no screen; its serial line is all there is.
        const screen = await readTextScreen(machine.qmp, machine.folder).catch(() => []);
        parts.push('── its screen', ...screen);
      }
    }
    parts.push('── server', this.server.output().slice(-12_000));
    return parts.filter((line) => line !== '').join('\n');
  }

  async close(): Promise<void> {
    for (const machine of this.#machines) await machine.stop();
    await this.server.stop();
    await this.lab.close();
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** True when the scenarios are tried on the stock programs instead of on Polyboot. */
export function usesPeers(): boolean {
  return chosenServer() !== 'polyboot';
}

function chosenServer(): ServerKind {
  return process.env['POLYBOOT_BOOT_SERVER'] === 'peers' ? 'tuned-peers' : 'polyboot';
}

function startServer(
  kind: ServerKind,
  lab: Lab,
  folder: string,
  role: DhcpRole,
): Promise<BootServer> {
  if (kind === 'polyboot') return PolybootServer.start(lab, folder, role);
  return PeerServer.start(lab, folder, role, { tuned: kind === 'tuned-peers' });
}

/** Two guests one after the other, the server's start and an image's copy, on a busy host. */
const SCENARIO_LIMIT_MS = 2 * GUEST_LIMIT_MS + 300_000;

/**
 * The options and the body of a test that has its own network, server and guests; a failure shows
 * all they said. Used as `test(name, ...inRig(options, body))`, so that the test belongs to its
 * file.
 */
export function inRig(
  options: ScenarioOptions,
  body: (rig: Rig, t: TestContext) => Promise<void>,
): [{ timeout: number }, (t: TestContext) => Promise<void>] {
  const scenario = async (t: TestContext): Promise<void> => {
    const peers = usesPeers() ? ['dnsmasq', 'nginx', 'tgtd', 'tgtadm'] : [];
    const tools = [...GUEST_NEEDS.tools, ...peers, ...(options.needs?.tools ?? [])];
    const files = [...GUEST_NEEDS.files, ...(options.needs?.files ?? [])];
    if (!need(t, { root: true, tools, files })) return;
    const rig = await Rig.create(options);
    try {
      await body(rig, t);
    } catch (cause) {
      throw new Error(`${messageOf(cause)}\n${await rig.report()}`, { cause });
    } finally {
      await rig.close();
    }
  };
  return [{ timeout: SCENARIO_LIMIT_MS }, scenario];
}
