import { TYPE_MASK } from '../reservation-type.ts';
import type { Reservations } from '../reservation.ts';
import type { CommandBody } from '../table.ts';
import type { Task } from '../task.ts';
import { transportId } from './transport-id.ts';

/** PERSISTENT RESERVE IN (SPC-4 §6.15), one body per service action. */
function answer(render: (task: Task) => Buffer): CommandBody {
  return {
    begin(task) {
      task.reply(render(task));
    },
  };
}

function withHeader(reservations: Reservations, list: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32BE(reservations.generation % 2 ** 32, 0);
  header.writeUInt32BE(list.length, 4);
  return Buffer.concat([header, list]);
}

/** READ KEYS. */
export const readKeys: CommandBody = answer(({ unit: { reservations } }) => {
  const keys = reservations.registrations.map((r) => Buffer.from(r.key, 'hex'));
  return withHeader(reservations, Buffer.concat(keys));
});

/** READ RESERVATION: scope LU; the key is zero where all registrants hold it. */
export const readReservation: CommandBody = answer(({ unit: { reservations } }) => {
  if (reservations.type === 0) return withHeader(reservations, Buffer.alloc(0));
  const descriptor = Buffer.alloc(16);
  descriptor.write(reservations.holderKey, 0, 'hex');
  descriptor[13] = reservations.type;
  return withHeader(reservations, descriptor);
});

/** REPORT CAPABILITIES: SIP_C and ATP_C always; PTPL_C where there is a store. */
export const reportCapabilities: CommandBody = answer(({ unit }) => {
  const data = Buffer.alloc(8);
  data.writeUInt16BE(data.length, 0);
  const persistent = unit.keeper.possible;
  data[2] = 0x0c | (persistent ? 0x01 : 0x00);
  // TMV, and whether APTPL is in force now.
  data[3] = 0x80 | (persistent && unit.reservations.keepThroughPowerLoss ? 0x01 : 0x00);
  data.writeUInt16BE(TYPE_MASK, 4);
  return data;
});

/** READ FULL STATUS. */
export const readFullStatus: CommandBody = answer(({ unit: { reservations } }) => {
  const descriptors = reservations.registrations.map((r) => {
    const id = transportId(r.initiatorPort);
    const fixed = Buffer.alloc(24);
    fixed.write(r.key, 0, 'hex');
    if (reservations.holds(r)) {
      fixed[12] = 0x01;
      fixed[13] = reservations.type;
    }
    fixed.writeUInt16BE(r.targetPort, 18);
    fixed.writeUInt32BE(id.length, 20);
    return Buffer.concat([fixed, id]);
  });
  return withHeader(reservations, Buffer.concat(descriptors));
});
