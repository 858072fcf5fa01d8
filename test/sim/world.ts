import assert from 'node:assert/strict';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';
import type { ScsiTarget, UnitOptions } from '#scsi/mod.ts';
import type { BlockDevice } from '#block/mod.ts';
import { FakeClock } from '#base/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { TestInitiator } from '#iscsi/testing/initiator.ts';
import { Initiator, senseText } from '../conformance/scsi-initiator.ts';
import { IDENTITY, TARGET_NAME } from '../conformance/scsi-bench.ts';
import type { Random } from './random.ts';
import { BLOCK_BYTES } from './stamp.ts';
import type { Answer, Operation } from './workload.ts';

/** Somebody who can have one command or more answered. */
export interface Client {
  /** How many commands it can have under way. */
  readonly depth: number;
  /** Null: its connection broke, and it came back; the command is over (`lost` was called). */
  run(operation: Operation): Promise<Answer | null>;
}

/** What is not as it should be, to see whether the oracle notices. */
export type WorldFault = {
  readonly device?: (inner: BlockDevice) => BlockDevice;
  readonly target?: (inner: ScsiTarget) => ScsiTarget;
};

/** The real logical unit over a device, and initiators that call it without a transport. */
export function unitWorld(
  device: BlockDevice,
  random: Random,
  options: Partial<UnitOptions>,
  fault: WorldFault = {},
): Client[] {
  const target = unitTarget(device, options, fault);
  return ['one', 'two'].map((name) => {
    const initiator = new Initiator(target, `iqn.2026-11.test:${name}`);
    return {
      depth: 3,
      run: (operation) =>
        initiator.run(operation.cdb, {
          expectedIn: operation.inBytes,
          piece: BLOCK_BYTES * (1 + random.below(4)),
          ...(operation.out === null ? {} : { out: operation.out }),
        }),
    };
  });
}

/** How often a connection breaks under a command. */
const BREAKS = 0.04;

/**
 * The same through a real iSCSI target and sessions, in memory instead of sockets. Data comes in
 * pieces of any length, and connections break. `fenced` false: a broken session counts as over at
 * once, which is wrong.
 */
export async function sessionWorld(
  device: BlockDevice,
  random: Random,
  options: Partial<UnitOptions>,
  fenced = true,
): Promise<Client[]> {
  const server = new TargetServer({ clock: new FakeClock() });
  const target = unitTarget(device, options, {});
  server.addExport({ iqn: TARGET_NAME, access: 'any', takeover: false }, target);
  const names = ['one', 'two', 'three'];
  return Promise.all(names.map((name) => SessionClient.login(server, random, name, fenced)));
}

/** An initiator with one session, which it renews when its connection breaks. */
class SessionClient implements Client {
  readonly depth = 1;
  readonly #server: TargetServer;
  readonly #random: Random;
  readonly #name: string;
  readonly #fenced: boolean;
  #initiator: TestInitiator;

  private constructor(server: TargetServer, random: Random, name: string, fenced: boolean) {
    this.#fenced = fenced;
    this.#server = server;
    this.#random = random;
    this.#name = name;
    this.#initiator = new TestInitiator(server);
  }

  static async login(
    server: TargetServer,
    random: Random,
    name: string,
    fenced: boolean,
  ): Promise<SessionClient> {
    const client = new SessionClient(server, random, name, fenced);
    await client.#login();
    return client;
  }

  async run(operation: Operation): Promise<Answer | null> {
    const { cdb, out, inBytes } = operation;
    const early = out === null ? 0 : this.#random.below(out.length + 1);
    const running = this.#initiator.command([...cdb], {
      ...(inBytes > 0 ? { readBytes: inBytes } : {}),
      ...(out === null ? {} : { write: out, immediateBytes: early }),
    });
    if (this.#random.chance(BREAKS)) {
      running.catch(() => {});
      this.#initiator.connection.lost('injected: the connection breaks');
      this.#initiator = new TestInitiator(this.#server);
      if (!this.#fenced) operation.lost();
      // Answered when nothing of the session before can reach the disk (hostile case 27).
      await this.#login();
      if (this.#fenced) operation.lost();
      return null;
    }
    const result = await running;
    const sense = result.sense.length > 0 ? senseText(result.sense) : '';
    return { status: result.status, sense, data: result.data };
  }

  async #login(): Promise<void> {
    const initiator = `iqn.2026-11.test:${this.#name}`;
    const { status } = await this.#initiator.login({ initiator, target: TARGET_NAME });
    assert.equal(status, 0);
    // The first command is told that the session is new.
    await this.#initiator.command([0, 0, 0, 0, 0, 0]);
  }
}

function unitTarget(
  device: BlockDevice,
  options: Partial<UnitOptions>,
  fault: WorldFault,
): ScsiTarget {
  const set = new LogicalUnitSet({ targetName: TARGET_NAME });
  const shown = fault.device?.(device) ?? device;
  set.add(0, new LogicalUnit({ identity: IDENTITY, device: shown, ...options }));
  return fault.target?.(set) ?? set;
}
