/** CDBs of the block commands, as an initiator builds them (SBC-3 §5). */
export const FUA = 0x08;

/** A CDB of the 10-byte shape: READ, WRITE, VERIFY, WRITE SAME, SYNCHRONIZE CACHE … */
export function cdb10(opcode: number, flags: number, lba: number, blocks: number): Buffer {
  const cdb = Buffer.alloc(16);
  cdb[0] = opcode;
  cdb[1] = flags;
  cdb.writeUInt32BE(lba, 2);
  cdb.writeUInt16BE(blocks, 7);
  return cdb;
}

/** A CDB of the 16-byte shape. */
export function cdb16(opcode: number, flags: number, lba: number, blocks: number): Buffer {
  const cdb = Buffer.alloc(16);
  cdb[0] = opcode;
  cdb[1] = flags;
  cdb.writeBigUInt64BE(BigInt(lba), 2);
  cdb.writeUInt32BE(blocks, 10);
  return cdb;
}

/** UNMAP and its parameter list, one descriptor for each range. */
export function unmap(ranges: readonly { readonly lba: number; readonly blocks: number }[]): {
  readonly cdb: Buffer;
  readonly list: Buffer;
} {
  const list = Buffer.alloc(8 + 16 * ranges.length);
  list.writeUInt16BE(list.length - 2, 0);
  list.writeUInt16BE(list.length - 8, 2);
  ranges.forEach((r, i) => {
    list.writeBigUInt64BE(BigInt(r.lba), 8 + 16 * i);
    list.writeUInt32BE(r.blocks, 16 + 16 * i);
  });
  const cdb = Buffer.alloc(16);
  cdb[0] = 0x42;
  cdb.writeUInt16BE(list.length, 7);
  return { cdb, list };
}

/** MODE SELECT(6) of the Caching page with WCE as given. */
export function selectWriteCache(on: boolean): { readonly cdb: Buffer; readonly list: Buffer } {
  const list = Buffer.alloc(24);
  list[4] = 0x08;
  list[5] = 0x12;
  list[6] = on ? 0x04 : 0;
  const cdb = Buffer.alloc(16);
  cdb[0] = 0x15;
  cdb[1] = 0x10;
  cdb[4] = list.length;
  return { cdb, list };
}
