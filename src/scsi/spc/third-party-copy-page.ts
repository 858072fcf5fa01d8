import { TRANSFER_BLOCKS_MAX } from '../table.ts';
import {
  BLOCK_TO_BLOCK,
  CSCD_DESCRIPTORS_MAX,
  DESCRIPTOR_LIST_BYTES_MAX,
  IDENTIFICATION_DESCRIPTOR,
  SEGMENTS_MAX,
} from './copy-parameters.ts';

const THIS_UNIT = [0xff, 0xff] as const;

/** A third-party copy descriptor: type, length, body padded to four bytes. */
function descriptor(type: number, body: Buffer): Buffer {
  const d = Buffer.alloc(4 + Math.ceil(body.length / 4) * 4);
  d.writeUInt16BE(type, 0);
  d.writeUInt16BE(d.length - 4, 2);
  body.copy(d, 4);
  return d;
}

/** Operation code, number of service actions, and those. */
const COMMANDS = [0x83, 1, 0x00, 0x84, 2, 0x00, 0x03];

/** Third-party copy (SPC-4 §7.8.17): what EXTENDED COPY here can do. */
export function thirdPartyCopyPage(): Buffer {
  const commands = Buffer.from([COMMANDS.length, ...COMMANDS]);
  const limits = Buffer.alloc(28);
  limits.writeUInt16BE(CSCD_DESCRIPTORS_MAX, 4);
  limits.writeUInt16BE(SEGMENTS_MAX, 6);
  limits.writeUInt32BE(DESCRIPTOR_LIST_BYTES_MAX, 8);
  const types = Buffer.from([2, BLOCK_TO_BLOCK, IDENTIFICATION_DESCRIPTOR]);
  const identifiers = Buffer.from([0, 2, ...THIS_UNIT]);
  const general = Buffer.alloc(32);
  general.writeUInt32BE(1, 0);
  general.writeUInt32BE(1, 4);
  general.writeUInt32BE(TRANSFER_BLOCKS_MAX * 4096, 8);
  general[12] = 9;
  return Buffer.concat([
    descriptor(0x0001, commands),
    descriptor(0x0004, limits),
    descriptor(0x0008, types),
    descriptor(0x000c, identifiers),
    descriptor(0x8001, general),
  ]);
}
