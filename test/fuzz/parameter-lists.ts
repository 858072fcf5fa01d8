import type { Dice } from './dice.ts';

const LIST_BYTES_MAX = 16 * 1024;

/** Operation codes whose parameter lists are built here; the rest get blocks or noise. */
const Op = {
  MODE_SELECT_6: 0x15,
  MODE_SELECT_10: 0x55,
  UNMAP: 0x42,
  SANITIZE: 0x48,
  PERSISTENT_RESERVE_OUT: 0x5f,
  EXTENDED_COPY: 0x83,
  COMPARE_AND_WRITE: 0x89,
} as const;

/** Data for a command: of the right form more often than not, and of about the right length. */
export function parameterList(dice: Dice, cdb: readonly number[]): Uint8Array {
  const list = form(dice, cdb);
  for (let n = dice.roll(4); n > 0 && list.length > 0; n--) {
    list[dice.roll(list.length)] = dice.pick([0, 1, 0x7f, 0x80, 0xff, dice.roll(256)]);
  }
  if (!dice.once(6)) return list;
  return list.slice(0, dice.roll(list.length + 1));
}

function form(dice: Dice, cdb: readonly number[]): Uint8Array {
  switch (cdb[0] ?? 0) {
    case Op.MODE_SELECT_6:
      return modePages(dice, 4);
    case Op.MODE_SELECT_10:
      return modePages(dice, 8);
    case Op.UNMAP:
      return unmap(dice);
    case Op.PERSISTENT_RESERVE_OUT:
      return dice.bytes(dice.pick([24, 24, 24, 28, 80])).map((b) => (dice.once(2) ? 0 : b));
    case Op.EXTENDED_COPY:
      return copy(dice);
    case Op.SANITIZE:
      return Uint8Array.from([0x01, 0, 0, 4, 1, 2, 3, 4]);
    case Op.COMPARE_AND_WRITE:
      return new Uint8Array(512 * 2 * (1 + dice.roll(4)));
    default: {
      const length = dice.pick([0, 1, 24, 512, 1024, 4096, dice.roll(LIST_BYTES_MAX)]);
      return new Uint8Array(length).fill(dice.roll(256));
    }
  }
}

function modePages(dice: Dice, headerBytes: number): Uint8Array {
  const parts: number[] = Array.from({ length: headerBytes }, () => 0);
  for (let n = dice.roll(3); n >= 0; n--) {
    const length = dice.pick([0x0a, 0x12, 0x06, dice.roll(32)]);
    parts.push(dice.pick([0x08, 0x0a, 0x1c, 0x01, dice.roll(64)]), length);
    for (let k = 0; k < length; k++) parts.push(dice.once(4) ? dice.roll(256) : 0);
  }
  return Uint8Array.from(parts);
}

/** Lengths and LBAs around the ends of a 512 KiB disk, and far beyond. */
function unmap(dice: Dice): Uint8Array {
  const count = dice.roll(6);
  const list = Buffer.alloc(8 + count * 16);
  list.writeUInt16BE(list.length - 2);
  list.writeUInt16BE(count * 16, 2);
  for (let n = 0; n < count; n++) {
    const lba = dice.once(6) ? 2 ** 40 : dice.roll(1100);
    list.writeBigUInt64BE(BigInt(lba), 8 + n * 16);
    list.writeUInt32BE(dice.once(6) ? dice.oddNumber() : dice.roll(64), 16 + n * 16);
  }
  return list;
}

/** One or two segments of EXTENDED COPY from the unit to itself. */
function copy(dice: Dice): Uint8Array {
  const segments = dice.roll(3);
  const list = Buffer.alloc(16 + 32 + segments * 28);
  list[0] = dice.roll(256);
  list.writeUInt16BE(32, 2);
  list.writeUInt32BE(segments * 28, 8);
  list.set([0xe4, 0, 0, 0, 0x01, 0x03, 0, 8], 16);
  Buffer.from('3000000000000001', 'hex').copy(list, 24);
  list.writeUIntBE(512, 45, 3);
  for (let n = 0; n < segments; n++) {
    const at = 48 + n * 28;
    list.set([0x02, dice.roll(4), 0, 0x18], at);
    list.writeUInt16BE(dice.roll(40), at + 10);
    list.writeUInt32BE(dice.once(8) ? dice.oddNumber() : dice.roll(1100), at + 16);
    list.writeUInt32BE(dice.once(8) ? dice.oddNumber() : dice.roll(1100), at + 24);
  }
  return list;
}
