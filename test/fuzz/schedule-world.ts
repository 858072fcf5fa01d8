/** What all sessions of a random schedule share. */
import assert from 'node:assert/strict';
import type { GateDevice } from '#iscsi/testing/gate-device.ts';
import type { SchedulePlayer } from './schedule-player.ts';

export const BLOCK_BYTES = 512;
/** Blocks of which the model knows every byte; the disk has some more. */
export const DISK_BLOCKS = 8000;

/** One command that is not answered. */
export type Play = {
  readonly owner: SchedulePlayer;
  readonly tag: number;
  readonly write: boolean;
  readonly offset: number;
  readonly data: Buffer;
  readonly got: Buffer[];
  /** Bytes sent without being asked for, and whether more of them come. */
  sent: number;
  more: boolean;
  outSn: number;
  inSn: number;
  aborted: boolean;
  /** Of a command that moves no blocks of the model: told of its end. */
  readonly ended: ((status: number, sense: Uint8Array) => void) | null;
};

/** The disk as the answers tell it, and all that may be changing it: shared by its sessions. */
export class World {
  readonly model: Buffer = Buffer.alloc(DISK_BLOCKS * BLOCK_BYTES);
  readonly plays = new Set<Play>();
  /** Why a command of some session may end without having been begun. */
  excuse: (status: number, sense: Uint8Array) => boolean = () => false;

  /** Some command that is not answered may be changing these bytes. */
  overlaps(offset: number, lengthBytes: number): boolean {
    for (const { ended, offset: from, data } of this.plays) {
      if (ended === null && from < offset + lengthBytes && offset < from + data.length) return true;
    }
    return false;
  }

  /** A write that did not end well may have come to the disk in part. */
  unknown(play: Play, device: GateDevice): void {
    if (!play.write || play.ended !== null) return;
    this.model.set(device.content(play.offset, play.data.length), play.offset);
  }

  /** The disk is what the answers said. */
  check(device: GateDevice): void {
    assert.ok(Buffer.from(device.content(0, this.model.length)).equals(this.model));
  }
}
