import { u16, u8 } from '../bytes.ts';
import { ScsiError } from '../sense.ts';

/** TransportID of an iSCSI initiator port (SPC-4 §7.6.4.6). */
const ISCSI = 0x05;
/** Format 01b: the initiator name, ",i,0x", and the ISID. */
const PORT_FORMAT = 0x40;

/** The TransportID of an initiator port `name,i,0xISID`. */
export function transportId(initiatorPort: string): Buffer {
  const text = Buffer.from(initiatorPort, 'utf8');
  // NUL-terminated, padded to four bytes, at least 20 in all.
  const id = Buffer.alloc(Math.max(24, 4 + Math.ceil((text.length + 1) / 4) * 4));
  id[0] = PORT_FORMAT | ISCSI;
  id.writeUInt16BE(id.length - 4, 2);
  text.copy(id, 4);
  return id;
}

/**
 * The initiator port of a TransportID in a parameter list. Throws INVALID FIELD IN PARAMETER LIST
 * with its offset for anything but an iSCSI initiator port.
 */
export function parseTransportId(list: Uint8Array, at: number): string {
  if (u8(list, at) !== (PORT_FORMAT | ISCSI)) throw ScsiError.invalidParameter(at);
  const length = u16(list, at + 2);
  if (length < 20 || at + 4 + length > list.length) throw ScsiError.invalidParameter(at + 2);
  const text = Buffer.from(list.subarray(at + 4, at + 4 + length));
  const end = text.indexOf(0);
  const name = text.toString('utf8', 0, end < 0 ? text.length : end);
  if (end < 0 || !/^[^,\s]+,i,0x[0-9a-f]{12}$/.test(name)) throw ScsiError.invalidParameter(at + 4);
  return name;
}

/** The initiator ports of TransportIDs one after the other, up to the list's end (SPEC_I_PT). */
export function parseTransportIds(list: Uint8Array, from: number): string[] {
  const ports: string[] = [];
  for (let at = from; at < list.length; at += 4 + u16(list, at + 2)) {
    ports.push(parseTransportId(list, at));
  }
  return ports;
}
