import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '#base/mod.ts';
import { CryptDevice, DelayDevice, EphemeralKey, openRaw } from '#block/mod.ts';
import type { BlockDevice, BlockDone } from '#block/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet, openUnitState } from '#scsi/mod.ts';
import type { Nexus, UnitOptions } from '#scsi/mod.ts';
import { asked } from './block-device.ts';

/** A kind of logical unit that the conformance run exports. */
export type Profile = {
  readonly name: string;
  readonly what: string;
  readonly sizeBytes: number;
  readonly blockBytes: number;
  readonly readOnly: boolean;
  readonly encrypted?: boolean;
  /** Milliseconds that each write of a large piece takes. */
  readonly writeMs?: number;
  readonly unit: Pick<UnitOptions, 'kind' | 'removable' | 'cache' | 'physicalBlockBytes'>;
};

const MIB = 1024 * 1024;

const disk: Profile = {
  name: 'disk',
  what: 'default thin disk, 512-byte blocks',
  sizeBytes: 256 * MIB,
  blockBytes: 512,
  readOnly: false,
  unit: {},
};

/** The union of these counts; a test may not fail on any of them. */
export const PROFILES: readonly Profile[] = [
  disk,
  { ...disk, name: 'read-only', what: 'the same, read-only', readOnly: true },
  {
    ...disk,
    name: 'removable',
    what: 'the same with a removable medium',
    unit: { removable: true },
  },
  {
    ...disk,
    name: 'cdrom',
    what: 'CD-ROM, 2048-byte blocks',
    blockBytes: 2048,
    readOnly: true,
    unit: { kind: 'cdrom' },
  },
  {
    ...disk,
    name: '512e',
    what: 'disk with physical blocks of 4096 bytes',
    unit: { physicalBlockBytes: 4096 },
  },
  { ...disk, name: 'encrypted', what: 'disk encrypted with a key in memory', encrypted: true },
];

/** Slow for the pieces of SANITIZE and WRITE SAME, fast for everything else. */
class SlowPieces extends DelayDevice {
  override tryWrite(offset: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    return lengthBytes < MIB && this.inner.tryWrite(offset, from, at, lengthBytes);
  }

  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    if (lengthBytes < MIB) this.inner.write(offset, from, at, lengthBytes, done);
    else super.write(offset, from, at, lengthBytes, done);
  }

  override discard(offset: number, lengthBytes: number, done: BlockDone): void {
    this.inner.discard(offset, lengthBytes, done);
  }

  override writeZeroes(offset: number, lengthBytes: number, done: BlockDone): void {
    this.inner.writeZeroes(offset, lengthBytes, done);
  }
}

/** A profile whose SANITIZE takes long enough to be looked at: some 8 s for 256 pieces. */
export function slowed(profile: Profile): Profile {
  return profile.readOnly ? profile : { ...profile, writeMs: 30 };
}

const IQN = 'iqn.2026-11.org.polyboot:conformance.0';

/** A running target with one LUN, by two portals. */
export type Exported = { readonly urls: readonly string[]; readonly close: () => Promise<void> };

function filtered(raw: BlockDevice, profile: Profile): BlockDevice {
  const { writeMs } = profile;
  const disk = writeMs === undefined ? raw : new SlowPieces(raw, systemClock, { writeMs });
  return profile.encrypted === true ? new CryptDevice(disk, new EphemeralKey()) : disk;
}

/** Exports a fresh, empty image of a profile on a free port of the loopback interface. */
export async function exportProfile(profile: Profile): Promise<Exported> {
  const home = mkdtempSync(join(tmpdir(), 'polyboot-scsi-'));
  const path = join(home, 'disk.img');
  writeFileSync(path, '');
  truncateSync(path, profile.sizeBytes);
  const { blockBytes, readOnly } = profile;
  const raw = await openRaw(path, { blockBytes, readOnly });
  const device = filtered(raw, profile);
  const state = await openUnitState(home, 'disk', device);
  const units = new LogicalUnitSet({ targetName: IQN });
  const server = new TargetServer();
  const abortTasks = (nexus: Nexus): boolean => server.abortTasksOf(nexus, 0);
  const options = { ...profile.unit, ...state.options, device, identity, abortTasks };
  units.add(0, new LogicalUnit(options));
  server.addExport({ iqn: IQN, access: 'any', takeover: false }, units);
  const any = { address: '127.0.0.1', port: 0 };
  const portals = await server.listen([any, any]);
  return {
    urls: portals.map((p) => `iscsi://127.0.0.1:${p.port}/${IQN}/0`),
    close: async () => {
      await server.close();
      await state.close();
      await asked((done) => {
        device.close(done);
      });
      rmSync(home, { recursive: true, force: true });
    },
  };
}

const identity = {
  vendor: 'POLYBOOT',
  product: 'Disk',
  revision: '0001',
  serial: 'CONFORMANCE-1',
  naa: '3000000000000001',
} as const;
