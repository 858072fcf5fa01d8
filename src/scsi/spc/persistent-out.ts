import { u32, u8 } from '../bytes.ts';
import type { ReservationEvent } from '../reservation.ts';
import { ScsiError, Sense } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';
import type { LogicalUnit } from '../unit.ts';
import { parseTransportId } from './transport-id.ts';

/** The basic parameter list (SPC-4 table 213). */
const LIST_BYTES = 24;
const FLAGS_AT = 20;
const SPEC_I_PT = 0x08;
const ALL_TG_PT = 0x04;
const APTPL = 0x01;

type Parameters = {
  readonly key: string;
  readonly actionKey: string;
  readonly type: number;
  readonly keep: boolean;
};

/**
 * PERSISTENT RESERVE OUT (SPC-4 §6.16): parse, act, keep what APTPL wants kept, tell the others.
 */
function serviceAction(
  act: (task: Task, parameters: Parameters) => readonly ReservationEvent[],
): CommandBody {
  return {
    begin(task) {
      if (u32(task.cdb, 5) !== LIST_BYTES) throw ScsiError.check(Sense.PARAMETER_LIST_LENGTH);
      task.gatherList(LIST_BYTES, 5);
    },
    async finish(task) {
      const { unit } = task;
      const events = act(task, parse(task));
      unit.update();
      await keep(unit);
      unit.tellRegistrants(events);
    },
  };
}

function parse(task: Task): Parameters {
  const list = Buffer.from(task.parameters);
  const scopeType = u8(task.cdb, 2);
  const flags = u8(list, FLAGS_AT);
  if (scopeType >> 4 !== 0) throw ScsiError.invalidField(2, 7);
  if ((flags & SPEC_I_PT) !== 0) throw ScsiError.invalidParameter(FLAGS_AT, 3);
  if ((flags & ALL_TG_PT) !== 0) throw ScsiError.invalidParameter(FLAGS_AT, 2);
  const keep = (flags & APTPL) !== 0;
  refuseUnkept(task.unit, keep, FLAGS_AT);
  return {
    key: list.toString('hex', 0, 8),
    actionKey: list.toString('hex', 8, 16),
    type: scopeType & 0x0f,
    keep,
  };
}

/** What cannot be kept must not be promised. */
function refuseUnkept(unit: LogicalUnit, keep: boolean, byte: number): void {
  if (keep && unit.options.reservations === undefined) throw ScsiError.invalidParameter(byte, 0);
}

/** Acknowledged reservations are on stable media first (durability contract, point 10). */
function keep(unit: LogicalUnit): Promise<void> {
  const store = unit.options.reservations;
  if (store === undefined) return Promise.resolve();
  return new Promise((resolve, reject) => {
    store.save(unit.reservations.snapshot(), (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

export const register: CommandBody = serviceAction(({ unit, nexus }, p) =>
  unit.reservations.register(nexus, p.key, p.actionKey, { ignoreKey: false, keep: p.keep }),
);

export const registerAndIgnore: CommandBody = serviceAction(({ unit, nexus }, p) =>
  unit.reservations.register(nexus, p.key, p.actionKey, { ignoreKey: true, keep: p.keep }),
);

export const reservePersistent: CommandBody = serviceAction(({ unit, nexus }, p) => {
  unit.reservations.reserve(nexus, p.key, p.type);
  return [];
});

export const releasePersistent: CommandBody = serviceAction(({ unit, nexus }, p) =>
  unit.reservations.release(nexus, p.key, p.type),
);

export const clear: CommandBody = serviceAction(({ unit, nexus }, p) =>
  unit.reservations.clear(nexus, p.key),
);

export const preempt: CommandBody = serviceAction(({ unit, nexus }, p) =>
  unit.reservations.preempt(nexus, p.key, p.actionKey, p.type),
);

/** REGISTER AND MOVE has a parameter list of its own (SPC-4 table 216). */
const MOVE_LIST_BYTES = 24;
const MOVE_FLAGS_AT = 17;
const UNREG = 0x02;
/** A TransportID is at most 4 bytes, a name of 223, its ISID, and padding. */
const MOVE_LIST_BYTES_MAX = 512;

export const registerAndMove: CommandBody = {
  begin(task) {
    const length = u32(task.cdb, 5);
    if (length < MOVE_LIST_BYTES || length > MOVE_LIST_BYTES_MAX) {
      throw ScsiError.check(Sense.PARAMETER_LIST_LENGTH);
    }
    if (u8(task.cdb, 2) >> 4 !== 0) throw ScsiError.invalidField(2, 7);
    task.gatherList(length, 5);
  },
  async finish(task) {
    const { unit, nexus } = task;
    const list = Buffer.from(task.parameters);
    const flags = u8(list, MOVE_FLAGS_AT);
    if (MOVE_LIST_BYTES + list.readUInt32BE(20) > list.length) throw ScsiError.invalidParameter(20);
    const aptpl = (flags & APTPL) !== 0;
    refuseUnkept(unit, aptpl, MOVE_FLAGS_AT);
    const to = {
      initiatorPort: parseTransportId(list, MOVE_LIST_BYTES),
      targetPort: list.readUInt16BE(18),
    };
    const [key, newKey] = [list.toString('hex', 0, 8), list.toString('hex', 8, 16)];
    const options = { unregister: (flags & UNREG) !== 0, keep: aptpl };
    unit.reservations.registerAndMove(nexus, key, newKey, to, options);
    unit.update();
    await keep(unit);
  },
};

/** The losers' commands end without an answer before ours does (SPC-4 §5.13.11.5). */
export const preemptAndAbort: CommandBody = serviceAction(({ unit, nexus }, p) => {
  const { abortTasks } = unit.options;
  if (abortTasks === undefined) throw ScsiError.invalidField(1, 4);
  const events = unit.reservations.preempt(nexus, p.key, p.actionKey, p.type);
  for (const { to, attention } of events) {
    if (attention !== Sense.REGISTRATIONS_PREEMPTED) continue;
    for (const loser of unit.nexusesOf(to)) abortTasks(loser);
  }
  return events;
});
