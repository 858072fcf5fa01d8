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
  run(operation: Operation): Promise<Answer>;
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

/** The same through a real iSCSI target and sessions, in memory instead of sockets. */
export async function sessionWorld(
  device: BlockDevice,
  random: Random,
  options: Partial<UnitOptions>,
): Promise<Client[]> {
  const server = new TargetServer({ clock: new FakeClock() });
  const target = unitTarget(device, options, {});
  server.addExport({ iqn: TARGET_NAME, access: 'any', takeover: false }, target);
  const clients: Client[] = [];
  for (const name of ['one', 'two', 'three']) {
    const initiator = new TestInitiator(server);
    await initiator.login({ initiator: `iqn.2026-11.test:${name}`, target: TARGET_NAME });
    // The first command is told that the session is new.
    await initiator.command([0, 0, 0, 0, 0, 0]);
    clients.push({
      depth: 1,
      run: async (operation) => {
        const { cdb, out, inBytes } = operation;
        const early = out === null ? 0 : BLOCK_BYTES * random.below(out.length / BLOCK_BYTES + 1);
        const result = await initiator.command([...cdb], {
          ...(inBytes > 0 ? { readBytes: inBytes } : {}),
          ...(out === null ? {} : { write: out, immediateBytes: Math.min(early, out.length) }),
        });
        const sense = result.sense.length > 0 ? senseText(result.sense) : '';
        return { status: result.status, sense, data: result.data };
      },
    });
  }
  return clients;
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
