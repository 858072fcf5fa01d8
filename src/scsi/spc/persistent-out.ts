import { u32, u8 } from '../bytes.ts';
import type { ReservationEvent, Reservations } from '../reservation.ts';
import { ScsiError, Sense } from '../sense.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';
import type { LogicalUnit } from '../unit.ts';
import { parseTransportId, parseTransportIds } from './transport-id.ts';

/** The basic parameter list (SPC-4 table 213). */
const LIST_BYTES = 24;
const FLAGS_AT = 20;
const SPEC_I_PT = 0x08;
const ALL_TG_PT = 0x04;
const APTPL = 0x01;
/** With SPEC_I_PT: its length field, then the TransportIDs. */
const IDS_LENGTH_AT = 24;
const IDS_AT = 28;
/** Sixteen TransportIDs of the longest kind: 4 bytes, a name of 223, its ISID, padding. */
const LIST_BYTES_MAX = 4096;

type Parameters = {
  readonly list: Buffer;
  readonly key: string;
  readonly actionKey: string;
  readonly type: number;
  readonly keep: boolean;
};

type Act = (task: Task, reservations: Reservations, p: Parameters) => readonly ReservationEvent[];

/**
 * PERSISTENT RESERVE OUT (SPC-4 §6.16): parse; act on a copy; keep what APTPL wants kept; only then
 * is the copy in force, and the others are told.
 */
function serviceAction(act: Act, parse: (task: Task) => Parameters = parseBasic): CommandBody {
  return {
    begin(task) {
      const length = u32(task.cdb, 5);
      if (length < LIST_BYTES || length > LIST_BYTES_MAX) {
        throw ScsiError.check(Sense.PARAMETER_LIST_LENGTH);
      }
      task.gatherList(length, 5);
    },
    async finish(task) {
      const p = parse(task);
      await task.unit.changeReservations((next) => act(task, next, p));
    },
  };
}

/** The list of all actions but REGISTER with SPEC_I_PT, which may be longer, and of MOVE. */
function parseBasic(task: Task): Parameters {
  const p = parseCommon(task);
  if (p.list.length !== LIST_BYTES) throw ScsiError.check(Sense.PARAMETER_LIST_LENGTH);
  const flags = u8(p.list, FLAGS_AT);
  if ((flags & SPEC_I_PT) !== 0) throw ScsiError.invalidParameter(FLAGS_AT, 3);
  return p;
}

function parseCommon(task: Task): Parameters {
  const list = Buffer.from(task.parameters);
  const scopeType = u8(task.cdb, 2);
  if (scopeType >> 4 !== 0) throw ScsiError.invalidField(2, 7);
  const keep = (u8(list, FLAGS_AT) & APTPL) !== 0;
  refuseUnkept(task.unit, keep, FLAGS_AT);
  const [key, actionKey] = [list.toString('hex', 0, 8), list.toString('hex', 8, 16)];
  return { list, key, actionKey, type: scopeType & 0x0f, keep };
}

/** What cannot be kept must not be promised. */
function refuseUnkept(unit: LogicalUnit, keep: boolean, byte: number): void {
  if (keep && !unit.keeper.possible) throw ScsiError.invalidParameter(byte, 0);
}

/** The target's ports, where ALL_TG_PT says that all of them are meant. */
function targetPorts(task: Task, p: Parameters): readonly number[] {
  return (u8(p.list, FLAGS_AT) & ALL_TG_PT) === 0 ? [] : task.host.targetPorts;
}

/** REGISTER (SPC-4 §5.13.7), for other initiator ports too where SPEC_I_PT says so. */
export const register: CommandBody = serviceAction((task, reservations, p) => {
  const { nexus } = task;
  const options = { ignoreKey: false, keep: p.keep, targetPorts: targetPorts(task, p) };
  if ((u8(p.list, FLAGS_AT) & SPEC_I_PT) === 0) {
    if (p.list.length !== LIST_BYTES) throw ScsiError.check(Sense.PARAMETER_LIST_LENGTH);
    return reservations.register(nexus, p.key, p.actionKey, options);
  }
  if (p.list.length < IDS_AT || IDS_AT + u32(p.list, IDS_LENGTH_AT) !== p.list.length) {
    throw ScsiError.check(Sense.PARAMETER_LIST_LENGTH);
  }
  const initiatorPorts = parseTransportIds(p.list, IDS_AT);
  if (reservations.find(nexus) !== undefined) throw ScsiError.invalidParameter(FLAGS_AT, 3);
  return reservations.register(nexus, p.key, p.actionKey, { ...options, initiatorPorts });
}, parseCommon);

export const registerAndIgnore: CommandBody = serviceAction((task, reservations, p) =>
  reservations.register(task.nexus, p.key, p.actionKey, {
    ignoreKey: true,
    keep: p.keep,
    targetPorts: targetPorts(task, p),
  }),
);

export const reservePersistent: CommandBody = serviceAction(({ nexus }, reservations, p) => {
  reservations.reserve(nexus, p.key, p.type);
  return [];
});

export const releasePersistent: CommandBody = serviceAction(({ nexus }, reservations, p) =>
  reservations.release(nexus, p.key, p.type),
);

export const clear: CommandBody = serviceAction(({ nexus }, reservations, p) =>
  reservations.clear(nexus, p.key),
);

export const preempt: CommandBody = serviceAction(({ nexus }, reservations, p) =>
  reservations.preempt(nexus, p.key, p.actionKey, p.type),
);

const basicPreempt = (task: Task, reservations: Reservations): readonly ReservationEvent[] => {
  const p = parseBasic(task);
  return reservations.preempt(task.nexus, p.key, p.actionKey, p.type);
};

/**
 * PREEMPT AND ABORT: the losers' commands end without an answer, and nothing of theirs can reach
 * the disk any more, before ours is GOOD (SPC-4 §5.13.11.5). That others ended them is all that
 * they learn of it (TAS = 0, SAM-5 §5.14).
 */
export const preemptAndAbort: CommandBody = {
  begin(task) {
    if (task.unit.options.abortTasks === undefined) throw ScsiError.invalidField(1, 4);
    preempt.begin(task);
  },
  async finish(task) {
    const { unit } = task;
    const events = await unit.changeReservations((next) => basicPreempt(task, next));
    const losers = events.filter((e) => e.attention === Sense.REGISTRATIONS_PREEMPTED);
    const nexuses = new Set(losers.flatMap((e) => unit.nexusesOf(e.to)));
    for (const loser of nexuses) {
      const ended = unit.options.abortTasks?.(loser) ?? false;
      if (ended) unit.attentions.establish(loser, Sense.COMMANDS_CLEARED);
    }
    await unit.settled(nexuses);
  },
};

/** REGISTER AND MOVE has a parameter list of its own (SPC-4 table 216). */
const MOVE_LIST_BYTES = 24;
const MOVE_FLAGS_AT = 17;
const MOVE_PORT_AT = 18;
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
    const { unit, nexus, host } = task;
    const list = Buffer.from(task.parameters);
    const flags = u8(list, MOVE_FLAGS_AT);
    if (MOVE_LIST_BYTES + list.readUInt32BE(20) > list.length) throw ScsiError.invalidParameter(20);
    const aptpl = (flags & APTPL) !== 0;
    refuseUnkept(unit, aptpl, MOVE_FLAGS_AT);
    const targetPort = list.readUInt16BE(MOVE_PORT_AT);
    const known = targetPort === nexus.targetPort || host.targetPorts.includes(targetPort);
    if (!known) throw ScsiError.invalidParameter(MOVE_PORT_AT);
    const to = { initiatorPort: parseTransportId(list, MOVE_LIST_BYTES), targetPort };
    const [key, newKey] = [list.toString('hex', 0, 8), list.toString('hex', 8, 16)];
    const options = { unregister: (flags & UNREG) !== 0, keep: aptpl };
    await unit.changeReservations((next) => next.registerAndMove(nexus, key, newKey, to, options));
  },
};
