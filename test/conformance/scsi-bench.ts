import { MemoryDevice, ReadOnlyDevice } from '#block/mod.ts';
import type { BlockDevice } from '#block/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';
import type { UnitIdentity, UnitOptions } from '#scsi/mod.ts';
import { Initiator } from './scsi-initiator.ts';

export const IDENTITY: UnitIdentity = {
  vendor: 'POLYBOOT',
  product: 'Disk',
  revision: '0001',
  serial: 'SERIAL-1',
  naa: '3000000000000001',
};

export const TARGET_NAME = 'iqn.2026-11.org.polyboot:bench.0';

/** A target with one unit and one initiator, for tests of commands. */
export type Bench = {
  readonly set: LogicalUnitSet;
  readonly unit: LogicalUnit;
  readonly memory: MemoryDevice;
  readonly one: Initiator;
};

export const DISK_BYTES = 4 * 1024 * 1024;

/** Makes it; `wrap` puts filters between the unit and its memory. */
export function bench(
  options: Partial<UnitOptions> = {},
  wrap: (memory: MemoryDevice) => BlockDevice = (memory) => memory,
  sizeBytes = DISK_BYTES,
): Bench {
  const blockBytes = options.kind === 'cdrom' ? 2048 : 512;
  const memory = new MemoryDevice({ sizeBytes, blockBytes });
  const readOnly = options.kind === 'cdrom' ? new ReadOnlyDevice(memory) : memory;
  const device = readOnly === memory ? wrap(memory) : readOnly;
  const unit = new LogicalUnit({ identity: IDENTITY, device, ...options });
  const set = new LogicalUnitSet({ targetName: TARGET_NAME });
  set.add(0, unit);
  return { set, unit, memory, one: new Initiator(set) };
}
