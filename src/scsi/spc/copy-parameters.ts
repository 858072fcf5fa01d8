import { u16, u32, u64, u8 } from '../bytes.ts';
import { ScsiError, Sense } from '../sense.ts';

/** EXTENDED COPY(LID1) parameter list (SPC-4 §6.6.2 in its 2010 form, §5.16.7 descriptors). */
export const COPY_LIST_HEADER_BYTES = 16;
export const CSCD_DESCRIPTOR_BYTES = 32;
export const SEGMENT_BYTES = 28;

/** What we take: a disk to disk copy names two units; more segments than Linux or VMware send. */
export const CSCD_DESCRIPTORS_MAX = 8;
export const SEGMENTS_MAX = 64;
export const DESCRIPTOR_LIST_BYTES_MAX =
  CSCD_DESCRIPTORS_MAX * CSCD_DESCRIPTOR_BYTES + SEGMENTS_MAX * SEGMENT_BYTES;

export const IDENTIFICATION_DESCRIPTOR = 0xe4;
export const BLOCK_TO_BLOCK = 0x02;
const SEGMENT_LENGTH = 0x18;

/** A copy source or destination, by a designator of VPD 83h. */
export type CopyDevice = {
  readonly codeSet: number;
  readonly kind: number;
  readonly designator: Uint8Array;
  readonly nul: boolean;
  readonly blockBytes: number;
};

/** One run of blocks. */
export type CopySegment = {
  readonly from: number;
  readonly to: number;
  /** The count is in blocks of the destination (DC = 1) or of the source. */
  readonly countsDestination: boolean;
  readonly blocks: number;
  readonly fromLba: number;
  readonly toLba: number;
};

export type CopyList = {
  readonly id: number;
  /** LIST ID USAGE 11b: the result is not kept. */
  readonly discardsResult: boolean;
  readonly devices: readonly CopyDevice[];
  readonly segments: readonly CopySegment[];
};

/** Throws `ScsiError` as SPC-4 §6.6 says for each kind of mistake. */
export function parseCopyList(list: Uint8Array): CopyList {
  if (list.length < COPY_LIST_HEADER_BYTES) throw ScsiError.check(Sense.PARAMETER_LIST_LENGTH);
  const devicesBytes = u16(list, 2);
  const segmentsBytes = u32(list, 8);
  const inlineBytes = u32(list, 12);
  const total = COPY_LIST_HEADER_BYTES + devicesBytes + segmentsBytes + inlineBytes;
  if (devicesBytes + segmentsBytes > DESCRIPTOR_LIST_BYTES_MAX) {
    throw ScsiError.check(Sense.PARAMETER_LIST_LENGTH);
  }
  if (devicesBytes > CSCD_DESCRIPTORS_MAX * CSCD_DESCRIPTOR_BYTES) {
    throw ScsiError.check(Sense.TOO_MANY_TARGET_DESCRIPTORS, { field: { in: 'data', byte: 2 } });
  }
  if (segmentsBytes > SEGMENTS_MAX * SEGMENT_BYTES) {
    throw ScsiError.check(Sense.TOO_MANY_SEGMENT_DESCRIPTORS, { field: { in: 'data', byte: 8 } });
  }
  if (inlineBytes !== 0) throw ScsiError.invalidParameter(12);
  if (total > list.length) throw ScsiError.check(Sense.PARAMETER_LIST_LENGTH);
  if (devicesBytes % CSCD_DESCRIPTOR_BYTES !== 0) throw ScsiError.invalidParameter(2);
  const segmentsAt = COPY_LIST_HEADER_BYTES + devicesBytes;
  return {
    id: u8(list, 0),
    discardsResult: (u8(list, 1) & 0x18) === 0x18,
    devices: parseDevices(list, segmentsAt),
    segments: parseSegments(list, segmentsAt, segmentsAt + segmentsBytes),
  };
}

function parseDevices(list: Uint8Array, end: number): CopyDevice[] {
  const devices: CopyDevice[] = [];
  for (let at = COPY_LIST_HEADER_BYTES; at < end; at += CSCD_DESCRIPTOR_BYTES) {
    if (u8(list, at) !== IDENTIFICATION_DESCRIPTOR) {
      throw ScsiError.check(Sense.UNSUPPORTED_TARGET_DESCRIPTOR, {
        field: { in: 'data', byte: at },
      });
    }
    // LU ID TYPE, the upper two bits of the next byte, is obsolete and not looked at.
    const length = u8(list, at + 7);
    if (length > 20) throw ScsiError.invalidParameter(at + 7);
    devices.push({
      nul: (u8(list, at + 1) & 0x20) !== 0,
      codeSet: u8(list, at + 4) & 0x0f,
      kind: u8(list, at + 5) & 0x3f,
      designator: list.slice(at + 8, at + 8 + length),
      blockBytes: u32(list, at + 28) % 2 ** 24,
    });
  }
  return devices;
}

function parseSegments(list: Uint8Array, from: number, end: number): CopySegment[] {
  const segments: CopySegment[] = [];
  for (let at = from; at < end; at += SEGMENT_BYTES) {
    if (u8(list, at) !== BLOCK_TO_BLOCK) {
      throw ScsiError.check(Sense.UNSUPPORTED_SEGMENT_DESCRIPTOR, {
        field: { in: 'data', byte: at },
      });
    }
    if (at + SEGMENT_BYTES > end || u16(list, at + 2) !== SEGMENT_LENGTH) {
      throw ScsiError.invalidParameter(at + 2);
    }
    segments.push({
      countsDestination: (u8(list, at + 1) & 0x02) !== 0,
      from: u16(list, at + 4),
      to: u16(list, at + 6),
      blocks: u16(list, at + 10),
      fromLba: u64(list, at + 12),
      toLba: u64(list, at + 20),
    });
  }
  return segments;
}
