import { u8 } from '../bytes.ts';
import type { Nexus } from '../command.ts';
import { TRANSFER_BLOCKS_MAX } from '../table.ts';
import { ScsiError } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import {
  BLOCK_TO_BLOCK,
  CSCD_DESCRIPTORS_MAX,
  DESCRIPTOR_LIST_BYTES_MAX,
  IDENTIFICATION_DESCRIPTOR,
  SEGMENTS_MAX,
} from './copy-parameters.ts';

/** How a copy ended. */
export type CopyResult = { readonly segments: number; readonly failed: boolean };

/** Results that nobody asked for are forgotten, the oldest first. */
const RESULTS_MAX = 64;

/** What EXTENDED COPY leaves for RECEIVE COPY RESULTS, per nexus and list identifier. */
export class CopyResults {
  readonly #results: { nexus: Nexus; id: number; result: CopyResult }[] = [];

  keep(nexus: Nexus, id: number, result: CopyResult): void {
    this.take(nexus, id);
    if (this.#results.length >= RESULTS_MAX) this.#results.shift();
    this.#results.push({ nexus, id, result });
  }

  /** Takes a result away. */
  take(nexus: Nexus, id: number): CopyResult | undefined {
    const index = this.#results.findIndex((r) => r.nexus === nexus && r.id === id);
    return index < 0 ? undefined : this.#results.splice(index, 1)[0]?.result;
  }

  /** The nexus is gone, and its list identifiers with it. */
  forget(nexus: Nexus): void {
    const kept = this.#results.filter((r) => r.nexus !== nexus);
    this.#results.splice(0, this.#results.length, ...kept);
  }
}

const DONE = 0x01;
const DONE_WITH_ERRORS = 0x02;

/** RECEIVE COPY RESULTS, COPY STATUS(LID1) (SPC-4 §6.24): once told, forgotten. */
export const copyStatus: CommandBody = {
  begin(task) {
    const result = task.unit.copyResults.take(task.nexus, u8(task.cdb, 2));
    if (result === undefined) throw ScsiError.invalidField(2);
    const data = Buffer.alloc(12);
    data.writeUInt32BE(8, 0);
    data[4] = result.failed ? DONE_WITH_ERRORS : DONE;
    data.writeUInt16BE(result.segments, 5);
    task.reply(data);
  },
};

/** The longest segment: what its 16-bit count of 4096-byte blocks can say. */
const SEGMENT_LENGTH_MAX = TRANSFER_BLOCKS_MAX * 4096;
/** Log2 of the granularity we copy in: a block. */
const GRANULARITY = 9;

/** RECEIVE COPY RESULTS, OPERATING PARAMETERS (SPC-4 §6.26). */
export const copyOperatingParameters: CommandBody = {
  begin(task) {
    const types = [BLOCK_TO_BLOCK, IDENTIFICATION_DESCRIPTOR];
    const data = Buffer.alloc(44 + types.length);
    data.writeUInt32BE(data.length - 4, 0);
    // SNLID: a list identifier of zero is fine.
    data[4] = 0x01;
    data.writeUInt16BE(CSCD_DESCRIPTORS_MAX, 8);
    data.writeUInt16BE(SEGMENTS_MAX, 10);
    data.writeUInt32BE(DESCRIPTOR_LIST_BYTES_MAX, 12);
    data.writeUInt32BE(SEGMENT_LENGTH_MAX, 16);
    data.writeUInt16BE(1, 34);
    data[36] = 1;
    data[37] = GRANULARITY;
    data[43] = types.length;
    data.set(types, 44);
    task.reply(data);
  },
};
