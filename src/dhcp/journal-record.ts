import { crc32c } from '#base/mod.ts';

/**
 * The lease journal on disk: a head of eight bytes, then records, each
 *
 *     u32 length of body · u32 CRC32C of body · body
 *
 * and a body: u8 kind, u32 address, u32 lease seconds, f64 expiry (wall clock, milliseconds), then
 * client, MAC and host name, each u8 length and Latin-1. Numbers are big-endian. A length of zero
 * or a wrong CRC ends the journal: the file is written ahead with zeros, and a torn tail was never
 * acknowledged.
 */
export const JOURNAL_HEAD: Buffer = Buffer.from('PBLEASE1', 'latin1');

/** What happened to an address. Times are of the wall clock, since they outlive the process. */
export type JournalRecord = {
  readonly kind: 'lease' | 'release' | 'abandon';
  readonly address: number;
  readonly seconds: number;
  readonly expiresWallMs: number;
  readonly client: string;
  readonly mac: string;
  readonly hostName: string | undefined;
};

const KINDS: readonly JournalRecord['kind'][] = ['lease', 'release', 'abandon'];
const FRAME_BYTES = 8;
const FIXED_BYTES = 17;
/** Three texts of at most 255 bytes with their lengths. */
export const RECORD_BYTES: number = FRAME_BYTES + FIXED_BYTES + 3 * 256;

/** Writes one record at `at` (RECORD_BYTES of room needed) and returns the offset behind it. */
export function writeRecord(into: Buffer, at: number, record: JournalRecord): number {
  const body = at + FRAME_BYTES;
  into[body] = KINDS.indexOf(record.kind);
  into.writeUInt32BE(record.address, body + 1);
  into.writeUInt32BE(record.seconds, body + 5);
  into.writeDoubleBE(record.expiresWallMs, body + 9);
  let end = writeText(into, body + FIXED_BYTES, record.client);
  end = writeText(into, end, record.mac);
  end = writeText(into, end, record.hostName ?? '');
  into.writeUInt32BE(end - body, at);
  into.writeUInt32BE(crc32c(into, body, end - body), at + 4);
  return end;
}

function writeText(into: Buffer, at: number, text: string): number {
  const length = into.write(text.slice(0, 255), at + 1, 255, 'latin1');
  into[at] = length;
  return at + 1 + length;
}

/** Result of reading a journal: its records in order, and where the good part ends. */
export type JournalContents = {
  readonly records: JournalRecord[];
  readonly endBytes: number;
  /** True when bytes followed that are no records (a torn write, or damage). */
  readonly torn: boolean;
};

/** Reads all good records; undefined when the head is not ours. */
export function readRecords(bytes: Buffer): JournalContents | undefined {
  if (!bytes.subarray(0, JOURNAL_HEAD.length).equals(JOURNAL_HEAD)) return undefined;
  const records: JournalRecord[] = [];
  let at = JOURNAL_HEAD.length;
  for (;;) {
    const length = at + FRAME_BYTES <= bytes.length ? bytes.readUInt32BE(at) : 0;
    const body = at + FRAME_BYTES;
    const whole = length >= FIXED_BYTES + 3 && body + length <= bytes.length;
    if (!whole || crc32c(bytes, body, length) !== bytes.readUInt32BE(at + 4)) break;
    const record = readBody(bytes.subarray(body, body + length));
    if (record === undefined) break;
    records.push(record);
    at = body + length;
  }
  return { records, endBytes: at, torn: bytes.subarray(at).some((b) => b !== 0) };
}

function readBody(body: Buffer): JournalRecord | undefined {
  const kind = KINDS[body[0]!];
  const texts: string[] = [];
  let at = FIXED_BYTES;
  while (at < body.length) {
    const length = body[at]!;
    texts.push(body.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const [client, mac, hostName] = texts;
  if (kind === undefined || at !== body.length || texts.length !== 3) return undefined;
  return {
    kind,
    address: body.readUInt32BE(1),
    seconds: body.readUInt32BE(5),
    expiresWallMs: body.readDoubleBE(9),
    client: client ?? '',
    mac: mac ?? '',
    hostName: hostName === '' ? undefined : hostName,
  };
}
