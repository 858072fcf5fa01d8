import { UdpSocket } from '#net/mod.ts';

/**
 * A load generator for DHCP servers, as a relay: full exchanges (DISCOVER, OFFER, REQUEST, ACK)
 * with a fresh MAC each, a fixed number in flight. perfdhcp is itself the limit above 10,000
 * exchanges per second. Arguments: own address (giaddr), server, seconds, in flight.
 * Prints one JSON line: exchanges, seconds, exchanges per second, lost.
 */
const [own = '', server = '', seconds = '5', flight = '64'] = process.argv.slice(2);
const RETRY_MS = 1000;
const OPTIONS = 240;

const template = Buffer.alloc(300);
template.set([1, 1, 6, 1], 0);
template.set(own.split('.').map(Number), 24);
template.writeUInt32BE(0x63825363, 236);

const socket = UdpSocket.open(
  { family: 4, address: own, port: 67, receiveBufferBytes: 4 << 20 },
  { onMessage },
);
const target = socket.target({ address: server, port: 67 });

const bytes = Array.from({ length: Number(flight) }, () => Buffer.from(template));
const startedMs = bytes.map(() => 0);
let serial = (Date.now() & 0x7fffff) * 16;
let done = 0;
let lost = 0;
let running = true;

function write(slot: number, options: readonly number[]): void {
  const packet = bytes[slot]!;
  packet.fill(0, OPTIONS);
  packet.set(options, OPTIONS);
  target.send(packet, 0, packet.length);
}

function begin(slot: number): void {
  if (!running) return;
  serial += 1;
  const packet = bytes[slot]!;
  packet.writeUInt32BE(slot, 4);
  packet.writeUInt16BE(0x0200, 28);
  packet.writeUInt32BE(serial >>> 0, 30);
  startedMs[slot] = performance.now();
  write(slot, [53, 1, 1, 55, 4, 1, 3, 6, 15, 255]);
}

function onMessage(reply: Buffer): void {
  const slot = reply.readUInt32BE(4);
  const packet = bytes[slot];
  if (packet === undefined || reply.compare(packet, 28, 34, 28, 34) !== 0) return;
  if (reply[OPTIONS + 2] === 2) {
    const id = identifier(reply);
    const address = [...reply.subarray(16, 20)];
    write(slot, [53, 1, 3, 50, 4, ...address, 54, 4, ...id, 55, 4, 1, 3, 6, 15, 255]);
  } else {
    if (reply[OPTIONS + 2] === 5) done += 1;
    else lost += 1;
    begin(slot);
  }
}

function identifier(reply: Buffer): number[] {
  let at = OPTIONS;
  while (at < reply.length && reply[at] !== 255) {
    if (reply[at] === 54) return [...reply.subarray(at + 2, at + 6)];
    at += 2 + reply[at + 1]!;
  }
  return [0, 0, 0, 0];
}

const retry = setInterval(() => {
  const now = performance.now();
  for (const [slot, at] of startedMs.entries()) {
    if (now - at < RETRY_MS) continue;
    lost += 1;
    begin(slot);
  }
}, RETRY_MS / 4);

const beganMs = performance.now();
for (let slot = 0; slot < bytes.length; slot++) begin(slot);
setTimeout(
  () => {
    running = false;
    clearInterval(retry);
    const took = (performance.now() - beganMs) / 1000;
    process.stdout.write(
      `${JSON.stringify({ done, seconds: took, perSecond: Math.round(done / took), lost })}\n`,
    );
    void socket.close();
  },
  Number(seconds) * 1000,
);
