import { putText } from '../bytes.ts';
import type { UnitIdentity } from '../profile.ts';

/** Code set, association and designator type (SPC-4 §7.8.6). */
const BINARY = 0x01;
const ASCII = 0x02;
const UTF_8 = 0x03;
const PROTOCOL_ISCSI = 0x50;
const PIV = 0x80;
const OF_TARGET_PORT = 0x10;
const OF_TARGET_DEVICE = 0x20;
const TYPE = { t10: 1, naa: 3, relativePort: 4, portGroup: 5, scsiName: 8 } as const;

/** We have one target port group: every path is as good as any other. */
export const PORT_GROUP = 1;

function designator(codeSet: number, kind: number, value: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([codeSet, kind, 0, value.length]), value]);
}

/** A SCSI name string: NUL-terminated UTF-8, padded to four bytes (SPC-4 §7.8.6.11). */
function nameString(name: string): Buffer {
  const text = Buffer.from(name, 'utf8');
  const padded = Buffer.alloc(Math.ceil((text.length + 1) / 4) * 4);
  text.copy(padded);
  return padded;
}

/** The NAA designator's bytes. */
export function naaBytes(identity: UnitIdentity): Buffer {
  return Buffer.from(identity.naa, 'hex');
}

/** The designators of the unit: NAA, then T10 vendor id with the serial number. */
export function unitDesignators(identity: UnitIdentity): Buffer {
  const t10 = Buffer.alloc(8 + identity.serial.length);
  putText(t10, identity.vendor, 0, 8);
  t10.write(identity.serial, 8, 'latin1');
  return Buffer.concat([
    designator(BINARY, TYPE.naa, naaBytes(identity)),
    designator(ASCII, TYPE.t10, t10),
  ]);
}

/** The designators of the port a command came in by, and of the target. */
export function portDesignators(targetName: string | null, relativePort: number): Buffer {
  const port = Buffer.from([0, 0, relativePort >> 8, relativePort & 0xff]);
  const group = Buffer.from([0, 0, 0, PORT_GROUP]);
  const parts = [
    designator(PROTOCOL_ISCSI | BINARY, PIV | OF_TARGET_PORT | TYPE.relativePort, port),
    designator(PROTOCOL_ISCSI | BINARY, PIV | OF_TARGET_PORT | TYPE.portGroup, group),
  ];
  if (targetName !== null) {
    const tag = relativePort.toString(16).padStart(4, '0');
    const portName = nameString(`${targetName},t,0x${tag}`);
    parts.push(
      designator(PROTOCOL_ISCSI | UTF_8, PIV | OF_TARGET_PORT | TYPE.scsiName, portName),
      designator(
        PROTOCOL_ISCSI | UTF_8,
        PIV | OF_TARGET_DEVICE | TYPE.scsiName,
        nameString(targetName),
      ),
    );
  }
  return Buffer.concat(parts);
}
