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
