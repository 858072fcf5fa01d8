import { MemoryDevice } from '#block/mod.ts';
import type { BlockDevice } from '#block/mod.ts';
import { FakeClock } from '#base/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';
import type { UnitOptions } from '#scsi/mod.ts';
import type { TargetEvent } from '../events.ts';
import type { ExportConfig } from '../policy.ts';
import { TargetServer } from '../server.ts';
import type { TargetServerOptions } from '../server.ts';

export const TEST_TARGET = 'iqn.2026-11.test:disk';
export const TEST_DISK_BYTES: number = 4 * 1024 * 1024;

/** A server with one exported disk, a clock of its own, and what it told its observer. */
export type Bench = {
  readonly server: TargetServer;
  readonly clock: FakeClock;
  readonly events: TargetEvent[];
  readonly device: BlockDevice;
  readonly units: LogicalUnitSet;
};

/** One unit on a device, as a target. */
export function unitsOf(
  device: BlockDevice,
  abortTasks?: NonNullable<UnitOptions['abortTasks']>,
): LogicalUnitSet {
  const units = new LogicalUnitSet({ targetName: TEST_TARGET });
  const identity = {
    vendor: 'POLYBOOT',
    product: 'TEST',
    revision: '1',
    serial: 'test-0',
    naa: '3000000000000001',
  };
  units.add(
    0,
    new LogicalUnit({ device, identity, ...(abortTasks === undefined ? {} : { abortTasks }) }),
  );
  return units;
}

/** A server that exports `device` (a 4 MiB memory disk by default) as `TEST_TARGET`. */
export function testServer(
  options: {
    readonly device?: BlockDevice;
    readonly config?: Partial<ExportConfig>;
    readonly server?: TargetServerOptions;
    /** The unit has PREEMPT AND ABORT. */
    readonly aborts?: boolean;
  } = {},
): Bench {
  const clock = new FakeClock();
  const events: TargetEvent[] = [];
  const server = new TargetServer({
    clock,
    observer: {
      event(event) {
        events.push(event);
      },
    },
    ...options.server,
  });
  const device = options.device ?? new MemoryDevice({ sizeBytes: TEST_DISK_BYTES });
  const aborts = options.aborts === true;
  const units = unitsOf(device, aborts ? (nexus) => server.abortTasksOf(nexus, 0) : undefined);
  server.addExport({ iqn: TEST_TARGET, access: 'any', takeover: false, ...options.config }, units);
  return { server, clock, events, device, units };
}

/** Bytes with a recognisable pattern. */
export function pattern(lengthBytes: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(lengthBytes);
  let x = seed * 2654435761;
  for (let i = 0; i < lengthBytes; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes[i] = x >>> 24;
  }
  return bytes;
}

/** READ(10) or WRITE(10) of `blocks` at `lba`. */
export function readWrite(operation: 'read' | 'write', lba: number, blocks: number): number[] {
  const opcode = operation === 'read' ? 0x28 : 0x2a;
  const bytes = [lba >>> 24, lba >>> 16, lba >>> 8, lba].map((b) => b & 255);
  return [opcode, 0, ...bytes, 0, blocks >>> 8, blocks & 255, 0];
}
