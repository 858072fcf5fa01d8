import { highestBit, u8 } from './bytes.ts';
import type { ReservationRule } from './reservation.ts';
import { ScsiError, Sense } from './sense.ts';
import type { Task } from './task.ts';

/**
 * Which kinds of logical unit have a command. `saved` and `unsaved`: with and without somewhere to
 * keep mode pages.
 */
export type Scope =
  | 'all'
  | 'disk'
  | 'cdrom'
  | 'removable'
  | 'thin'
  | 'atomic'
  | 'encrypted'
  | 'saved'
  | 'unsaved';

/** Where a CDB has its LBA and its number of blocks. */
export type LbaRule = {
  readonly lbaAt: number;
  readonly lbaBytes: number;
  readonly countAt: number;
  readonly countBytes: number;
  /** What a count of zero means. */
  readonly zero: 'nothing' | '256' | 'rest';
  /** The whole count is moved in one go, so it is bounded by MAXIMUM TRANSFER LENGTH. */
  readonly moves: boolean;
};

/** Where a CDB has its allocation length: how much of the answer the initiator takes. */
export type AllocationRule = { readonly at: number; readonly bytes: number };

/** How a command is worked: what `begin` sets in motion, and what is left after the data. */
export type CommandBody = {
  /** Validates and starts: sets the phase through the task. Throws `ScsiError`. */
  begin(task: Task): void;
  /** After the data phase; a promise when there is something to wait for. Throws or rejects. */
  finish?(task: Task): Promise<void> | undefined;
};

/**
 * One command. `cdb` is the CDB usage data of SPC-4 §6.35.3: byte 0 the operation code; then a 1
 * for every bit that is looked at; in a service action's byte the action itself. Its length is the
 * CDB's.
 */
export type CommandRow = {
  readonly name: string;
  readonly cdb: Uint8Array;
  /** -1: the operation code has no service actions. */
  readonly action: number;
  readonly direction: 'none' | 'in' | 'out';
  readonly reservation: ReservationRule;
  readonly lba: LbaRule | null;
  /** Null: the answer has a fixed length, or is blocks. */
  readonly allocation: AllocationRule | null;
  readonly needs: 'nothing' | 'medium';
  readonly writes: boolean;
  readonly scope: Scope;
  readonly body: CommandBody;
};

/**
 * MAXIMUM TRANSFER LENGTH: all that READ(10) can ask for, since firmware reads a whole initrd at
 * once and heeds no limit; 32 MiB of 512-byte blocks.
 */
export const TRANSFER_BLOCKS_MAX = 0x10000;

/** Service actions are in the low five bits of byte 1 (SPC-4 §4.3.2). */
const ACTION_MASK = 0x1f;

/** The rows of one unit by operation code and service action. */
export class CommandTable {
  readonly rows: readonly CommandRow[];
  readonly #plain: (CommandRow | undefined)[] = [];
  readonly #actions: (Map<number, CommandRow> | undefined)[] = [];

  constructor(rows: readonly CommandRow[]) {
    this.rows = rows;
    for (const row of rows) {
      const opcode = u8(row.cdb, 0);
      if (row.action < 0) {
        this.#plain[opcode] = row;
      } else {
        const actions = (this.#actions[opcode] ??= new Map<number, CommandRow>());
        actions.set(row.action, row);
      }
    }
  }

  /** Finds the row of a CDB. Throws INVALID OPCODE, or INVALID FIELD for the service action. */
  lookup(cdb: Uint8Array): CommandRow {
    const opcode = u8(cdb, 0);
    const plain = this.#plain[opcode];
    if (plain !== undefined) return plain;
    const actions = this.#actions[opcode];
    if (actions === undefined) {
      throw ScsiError.check(Sense.INVALID_OPCODE, { field: { in: 'cdb', byte: 0 } });
    }
    const row = actions.get(u8(cdb, 1) & ACTION_MASK);
    if (row === undefined) throw ScsiError.invalidField(1, 4);
    return row;
  }

  /** The row for REPORT SUPPORTED OPERATION CODES, undefined when there is none. */
  find(opcode: number, action: number): CommandRow | undefined {
    return action < 0 ? this.#plain[opcode] : this.#actions[opcode]?.get(action);
  }

  /** Whether an operation code has service actions. */
  hasActions(opcode: number): boolean {
    return this.#actions[opcode] !== undefined;
  }
}

/** Refuses a bit that the command does not look at; the field pointer names it. */
export function checkUsage(row: CommandRow, cdb: Uint8Array, cdbBytes: number): void {
  const { length } = row.cdb;
  if (cdbBytes < length) throw ScsiError.invalidField(cdbBytes);
  for (let i = 1; i < length; i++) {
    const allowed = i === 1 && row.action >= 0 ? u8(row.cdb, 1) | ACTION_MASK : u8(row.cdb, i);
    const extra = u8(cdb, i) & ~allowed;
    if (extra !== 0) throw ScsiError.invalidField(i, highestBit(extra));
  }
}
