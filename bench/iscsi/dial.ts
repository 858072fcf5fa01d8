/**
 * Connects and logs in for a load: what comes after is the caller's, by the socket's descriptor.
 */
import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { NO_BYTES, NO_DIGESTS, RESERVED_TAG, Stage } from '#iscsi/pdu/mod.ts';
import { decodeLoginResponse, encodeLoginRequest, framePdu, parsePdu } from '#iscsi/pdu/mod.ts';
import { decodeText, encodeText } from '#iscsi/text.ts';
import type { Endpoint } from './load-job.ts';

const HEADER_BYTES = 48;

/** A session that is logged in, and what was agreed. */
export type Line = {
  readonly socket: Socket;
  readonly fd: number;
  readonly segmentBytes: number;
  readonly firstBurstBytes: number;
  readonly immediate: boolean;
};

/**
 * Logs in as initiator number `index`; all that the target offers is taken. `digests` null: only
 * connects.
 */
export async function dial(to: Endpoint, digests: boolean | null, index: number): Promise<Line> {
  const socket = connect({ host: to.address, port: to.port, noDelay: true });
  await once(socket, 'connect');
  socket.on('error', (e) => {
    throw e;
  });
  const keys = new Map<string, string>();
  if (digests === null) {
    keys.set('MaxRecvDataSegmentLength', '1048576').set('FirstBurstLength', '1048576');
  } else {
    await login(socket, to, digests, index, keys);
  }
  const handle = Reflect.get(socket, '_handle') as { readonly fd: number; readStop(): void };
  handle.readStop();
  return {
    socket,
    fd: handle.fd,
    segmentBytes: Number(keys.get('MaxRecvDataSegmentLength') ?? 8192),
    firstBurstBytes: Number(keys.get('FirstBurstLength') ?? 65536),
    immediate: keys.get('ImmediateData') !== 'No',
  };
}

async function login(
  socket: Socket,
  to: Endpoint,
  digests: boolean,
  index: number,
  keys: Map<string, string>,
): Promise<void> {
  for (let text = loginText(to.iqn, digests); ; text = NO_BYTES) {
    socket.write(framePdu(loginRequest(text, index), NO_DIGESTS));
    const response = decodeLoginResponse(parsePdu(await onePdu(socket), NO_DIGESTS));
    if (response.status !== 0) {
      throw new Error(`login refused: 0x${response.status.toString(16)}`);
    }
    for (const [key, value] of decodeText(response.data)) keys.set(key, value);
    if (response.transit && response.nextStage === Stage.FULL_FEATURE) return;
  }
}

async function onePdu(socket: Socket): Promise<Buffer> {
  let all = Buffer.alloc(0);
  for (;;) {
    const [bytes] = (await once(socket, 'data')) as [Buffer];
    all = Buffer.concat([all, bytes]);
    const dataBytes = all.length >= HEADER_BYTES ? all.readUInt32BE(4) & 0xffffff : 0;
    if (all.length >= HEADER_BYTES + dataBytes + (-dataBytes & 3)) return all;
  }
}

/** The login request of initiator number `index`. */
function loginRequest(data: Uint8Array, index: number): ReturnType<typeof encodeLoginRequest> {
  return encodeLoginRequest({
    transit: true,
    more: false,
    currentStage: Stage.OPERATIONAL,
    nextStage: Stage.FULL_FEATURE,
    versionMax: 0,
    versionMin: 0,
    isid: `80beef${(index + process.pid * 64).toString(16).padStart(6, '0').slice(-6)}`,
    tsih: 0,
    initiatorTaskTag: RESERVED_TAG - 1,
    cid: 0,
    cmdSn: 1,
    expStatSn: 0,
    data,
  });
}

/** All that our loads offer. */
function loginText(iqn: string, digests: boolean): Uint8Array {
  const digest = digests ? 'CRC32C' : 'None';
  return encodeText([
    ['InitiatorName', 'iqn.2026-11.org.polyboot:load'],
    ['TargetName', iqn],
    ['SessionType', 'Normal'],
    ['HeaderDigest', digest],
    ['DataDigest', digest],
    ['InitialR2T', 'No'],
    ['ImmediateData', 'Yes'],
    ['MaxRecvDataSegmentLength', '262144'],
    ['MaxBurstLength', '16776192'],
    ['FirstBurstLength', '1048576'],
    ['MaxOutstandingR2T', '8'],
    ['MaxConnections', '1'],
    ['ErrorRecoveryLevel', '0'],
  ]);
}
