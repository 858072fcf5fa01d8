import { putU64 } from '../bytes.ts';
import {
  UNMAP_BLOCKS_MAX,
  UNMAP_DESCRIPTORS_MAX,
  WRITE_SAME_BLOCKS_MAX,
  compareBlocksMax,
} from '../limits.ts';
import { TRANSFER_BLOCKS_MAX } from '../table.ts';
import type { Task } from '../task.ts';
import type { LogicalUnit } from '../unit.ts';
import { portDesignators, unitDesignators } from './designators.ts';
import { peripheral } from './peripheral.ts';
import { thirdPartyCopyPage } from './third-party-copy-page.ts';

/** One VPD page: its number, who has it, and its bytes after the four of the header. */
type VpdPage = {
  readonly code: number;
  readonly scope: 'all' | 'disk';
  readonly body: (task: Task) => Buffer;
};

const PAGES: readonly VpdPage[] = [
  { code: 0x00, scope: 'all', body: (task) => Buffer.from(pagesOf(task.unit).map((p) => p.code)) },
  { code: 0x80, scope: 'all', body: ({ unit }) => Buffer.from(unit.identity.serial, 'latin1') },
  { code: 0x83, scope: 'all', body: deviceIdentification },
  { code: 0x86, scope: 'all', body: extendedInquiry },
  { code: 0x87, scope: 'all', body: modePagePolicy },
  { code: 0x8f, scope: 'disk', body: thirdPartyCopyPage },
  { code: 0xb0, scope: 'disk', body: blockLimits },
  { code: 0xb1, scope: 'disk', body: blockDeviceCharacteristics },
  { code: 0xb2, scope: 'disk', body: logicalBlockProvisioning },
];

function pagesOf(unit: LogicalUnit): VpdPage[] {
  return PAGES.filter((p) => p.scope === 'all' || unit.kind === 'disk');
}

/** A VPD page with its header (SPC-4 §7.8), or null when the unit does not have it. */
export function vitalProductData(task: Task, code: number): Buffer | null {
  const page = pagesOf(task.unit).find((p) => p.code === code);
  if (page === undefined) return null;
  const body = page.body(task);
  const header = Buffer.from([peripheral(task.unit), code, 0, 0]);
  header.writeUInt16BE(body.length, 2);
  return Buffer.concat([header, body]);
}

/** SPC-4 §7.8.6. */
function deviceIdentification(task: Task): Buffer {
  return Buffer.concat([
    unitDesignators(task.unit.identity),
    portDesignators(task.host.targetName, task.nexus.targetPort),
  ]);
}

/** SPC-4 §7.8.7: simple, ordered and head-of-queue tasks; unit attentions are per nexus. */
function extendedInquiry(): Buffer {
  const body = Buffer.alloc(60);
  body[1] = 0x07;
  // LUICLR: a logical unit's I_T nexus loss clears what reporting would.
  body[3] = 0x01;
  return body;
}

/** SPC-4 §7.8.8: all mode pages are shared by all nexuses. */
function modePagePolicy(): Buffer {
  return Buffer.from([0x3f, 0xff, 0x00, 0x00]);
}

/** SBC-3 §6.6.4. */
function blockLimits({ unit }: Task): Buffer {
  const body = Buffer.alloc(60);
  const physicalBlocks = unit.reader.physicalBlockBytes / unit.blockBytes;
  body[1] = compareBlocksMax(unit.blockBytes);
  body.writeUInt16BE(physicalBlocks, 2);
  body.writeUInt32BE(TRANSFER_BLOCKS_MAX, 4);
  body.writeUInt32BE((1024 * 1024) / unit.blockBytes, 8);
  // MAXIMUM PREFETCH LENGTH: what CONDITION MET can be said of.
  body.writeUInt32BE(TRANSFER_BLOCKS_MAX, 12);
  if (unit.thin) {
    body.writeUInt32BE(UNMAP_BLOCKS_MAX, 16);
    body.writeUInt32BE(UNMAP_DESCRIPTORS_MAX, 20);
    body.writeUInt32BE(physicalBlocks, 24);
    // UGAVALID: alignment 0.
    body.writeUInt32BE(0x80000000, 28);
  }
  putU64(body, WRITE_SAME_BLOCKS_MAX, 32);
  // MAXIMUM ATOMIC TRANSFER LENGTH; any alignment, any number of blocks, no boundaries.
  body.writeUInt32BE(unit.atomicBlocksMax, 40);
  return body;
}

/** SBC-3 §6.6.3: no seeks worth ordering by. */
function blockDeviceCharacteristics({ unit }: Task): Buffer {
  const body = Buffer.alloc(60);
  body.writeUInt16BE(1, 0);
  // WABEREQ and WACEREQ 01b: after SANITIZE BLOCK ERASE reads succeed (and find zeros), after
  // CRYPTOGRAPHIC ERASE too (and find noise).
  body[3] = (unit.thin ? 0x40 : 0) | (unit.encrypted ? 0x10 : 0);
  // VBULS: VERIFY compares with unmapped blocks, too.
  body[4] = unit.thin ? 0x01 : 0;
  return body;
}

/** SBC-3 §6.6.5: UNMAP, WRITE SAME(16) and (10) with UNMAP; unmapped blocks read as zeros. */
function logicalBlockProvisioning({ unit }: Task): Buffer {
  return unit.thin ? Buffer.from([0, 0xe4, 0x02, 0]) : Buffer.from([0, 0, 0, 0]);
}
