import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { openRaw } from '#block/mod.ts';
import type { RawDevice } from '#block/mod.ts';
import { Phase } from '#scsi/mod.ts';
import type { LogicalUnitSet, ScsiCommand, ScsiTarget } from '#scsi/mod.ts';
import { RawInitiator } from '../../test/hostile/raw-initiator.ts';
import type { TargetEvent } from './events.ts';
import { encodeScsiCommand, framePdu } from './pdu/mod.ts';
import { TargetServer } from './server.ts';
import type { KeyValue } from './text.ts';
import { TEST_TARGET, pattern, readWrite, unitsOf } from './testing/disk.ts';

const BLOCK = 512;
const MIB = 1024 * 1024;
const DISK_BYTES = 24 * MIB;
const DISK: Uint8Array = pattern(DISK_BYTES);
const KEYS: readonly KeyValue[] = [
  ['InitialR2T', 'No'],
  ['ImmediateData', 'Yes'],
  ['MaxRecvDataSegmentLength', '262144'],
  ['MaxBurstLength', '1048576'],
  ['FirstBurstLength', '262144'],
];

/**
 * A target whose reads come straight from a raw device, so that they are lent whatever stands
 * between it and a logical unit.
 */
function direct(
  units: LogicalUnitSet,
  device: RawDevice,
  residentBytes: number,
): { scsi: ScsiTarget; lent: () => number } {
  let lent = 0;
  const lending = new Proxy(device, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (name === 'lend') {
        return (offset: number, length: number): number => {
          if (offset + length > residentBytes) return 0;
          const address = target.lend(offset, length);
          if (address !== 0) lent += 1;
          return address;
        };
      }
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  const scsi = new Proxy(units, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (name === 'begin') {
        return (command: ScsiCommand): void => {
          target.begin(command);
          if (command.phase === Phase.READ) command.device = lending;
        };
      }
      return typeof value === 'function' ? (value.bind(target) as unknown) : value;
    },
  });
  return { scsi, lent: () => lent };
}

type Site = {
  readonly path: string;
  readonly bytes: Buffer;
  readonly port: number;
  readonly lent: () => number;
  readonly events: readonly TargetEvent[];
  readonly server: TargetServer;
};

/**
 * A file of `DISK_BYTES`, read once, behind a target on a socket. What is beyond its first
 * `residentBytes` is never lent.
 */
async function site(
  t: TestContext,
  { blockBytes = BLOCK, residentBytes = DISK_BYTES } = {},
): Promise<Site> {
  const folder = mkdtempSync(join(process.cwd(), '.pb-lent-'));
  const path = join(folder, 'disk.raw');
  const bytes = Buffer.from(DISK);
  writeFileSync(path, bytes);
  readFileSync(path);
  const device = await openRaw(path, { blockBytes });
  const { scsi, lent } = direct(unitsOf(device), device, residentBytes);
  const events: TargetEvent[] = [];
  const server = new TargetServer({
    observer: {
      event(event) {
        events.push(event);
      },
    },
  });
  server.addExport({ iqn: TEST_TARGET, access: 'any', takeover: false }, scsi);
  const [portal] = await server.listen([{ address: '127.0.0.1', port: 0 }]);
  // The second window as well as the first: what is read often is lent.
  for (let n = 0; n < 8; n++) for (const at of [0, 16]) device.lend(at * MIB, MIB);
  t.after(async () => {
    await server.close();
    await new Promise((resolve) => {
      device.close(resolve);
    });
    rmSync(folder, { recursive: true });
  });
  return { path, bytes, port: portal!.port, lent, events, server };
}

async function ready(
  s: Site,
  more: readonly KeyValue[] = [],
  isid = '800000000001',
): Promise<RawInitiator> {
  const i = await RawInitiator.open({ port: s.port });
  await i.login({ keys: [...KEYS, ...more], isid });
  await i.result(i.issue([0, 0, 0, 0, 0, 0]));
  return i;
}

/** A READ or WRITE command as bytes, and its tag. */
function wire(
  i: RawInitiator,
  operation: 'read' | 'write',
  lba: number,
  blocks: number,
  data?: Uint8Array,
  attribute = 1,
): { readonly tag: number; readonly bytes: Uint8Array } {
  const pdu = i.commandPdu(readWrite(operation, lba, blocks), {
    [operation]: true,
    attribute,
    expectedLengthBytes: blocks * BLOCK,
    ...(data === undefined ? {} : { data }),
  });
  return { tag: pdu.initiatorTaskTag, bytes: framePdu(encodeScsiCommand(pdu), i.digests) };
}

for (const [name, keys] of [
  ['without digests', []],
  ['with header digests', [['HeaderDigest', 'CRC32C']]],
] as const) {
  test(`lent reads of every size are what is on the disk, ${name}`, async (t) => {
    const s = await site(t);
    const i = await ready(s, keys);
    const reads = [1, 8, 9, 128, 511, 512, 513, 2048, 4096].map((blocks, n) => {
      const lba = n * 4099;
      return { lba, blocks, ...wire(i, 'read', lba, blocks) };
    });
    // Across the border of two windows: one of them is copied.
    const border = 16 * 2048 - 100;
    reads.push({ lba: border, blocks: 256, ...wire(i, 'read', border, 256) });
    i.sendBytes(Buffer.concat(reads.map((r) => r.bytes)));
    for (const { tag, lba, blocks } of reads) {
      const { status, data } = await i.result(tag);
      assert.equal(status, 0);
      const expected = s.bytes.subarray(lba * BLOCK, (lba + blocks) * BLOCK);
      assert.ok(data.equals(expected), `${blocks} blocks at ${lba}`);
    }
    assert.ok(s.lent() >= reads.length - 1);
    assert.equal(s.server.plane.chunks.taken, 0);
  });
}

test('segments that are no whole blocks are not lent', async (t) => {
  const blockBytes = 4096;
  const s = await site(t, { blockBytes, residentBytes: DISK_BYTES - blockBytes });
  const i = await RawInitiator.open({ port: s.port });
  await i.login({ keys: [['MaxRecvDataSegmentLength', '1536']] });
  await i.result(i.issue([0, 0, 0, 0, 0, 0]));
  // The third segment begins in the last block but one and ends in the last one.
  const cdb = readWrite('read', DISK_BYTES / blockBytes - 2, 2);
  const tag = i.issue(cdb, { read: true, expectedLengthBytes: 2 * blockBytes });
  const { status, data } = await i.result(tag);
  assert.equal(status, 0);
  assert.ok(data.equals(s.bytes.subarray(-2 * blockBytes)));
});

test('with data digests nothing is lent', async (t) => {
  const s = await site(t);
  const i = await ready(s, [['DataDigest', 'CRC32C']]);
  const { tag, bytes } = wire(i, 'read', 0, 128);
  i.sendBytes(bytes);
  assert.ok((await i.result(tag)).data.equals(s.bytes.subarray(0, 128 * BLOCK)));
  assert.equal(s.lent(), 0);
});

test('a read has what was there before a write behind it, in one piece of received bytes', async (t) => {
  const s = await site(t);
  const i = await ready(s);
  const fresh = Buffer.alloc(8 * BLOCK, 0x99);
  for (const attribute of [1, 2]) {
    const before = wire(i, 'read', 8, 8);
    const apart = wire(i, 'write', 4096, 8, fresh, attribute);
    const write = wire(i, 'write', 12, 8, fresh, attribute);
    const after = wire(i, 'read', 8, 8, undefined, attribute);
    i.sendBytes(Buffer.concat([before, apart, write, after].map((w) => w.bytes)));
    const old = await i.result(before.tag);
    assert.ok(old.data.equals(s.bytes.subarray(8 * BLOCK, 16 * BLOCK)));
    assert.equal((await i.result(apart.tag)).status, 0);
    assert.equal((await i.result(write.tag)).status, 0);
    const now = await i.result(after.tag);
    s.bytes.set(fresh, 12 * BLOCK);
    assert.ok(now.data.equals(s.bytes.subarray(8 * BLOCK, 16 * BLOCK)));
  }
  assert.ok(s.lent() > 0);
});

test('WRITE SAME behind a read does not change what the read has', async (t) => {
  const s = await site(t);
  const i = await ready(s);
  const before = wire(i, 'read', 0, 16);
  const same = i.commandPdu([0x41, 0, 0, 0, 0, 0, 0, 0, 16, 0], {
    write: true,
    expectedLengthBytes: BLOCK,
    data: Buffer.alloc(BLOCK, 0x11),
  });
  i.sendBytes(Buffer.concat([before.bytes, framePdu(encodeScsiCommand(same), i.digests)]));
  assert.ok((await i.result(before.tag)).data.equals(s.bytes.subarray(0, 16 * BLOCK)));
  assert.equal((await i.result(same.initiatorTaskTag)).status, 0);
});

test('a reader that stops reading: what the socket does not take is captured, and comes', async (t) => {
  const s = await site(t);
  const i = await ready(s);
  i.socket.pause();
  const reads = Array.from({ length: 40 }, (_, n) => {
    const lba = (n % 12) * 2048;
    return { lba, ...wire(i, 'read', lba, 2048) };
  });
  i.sendBytes(Buffer.concat(reads.map((r) => r.bytes)));
  const traffic = (): number => s.server.stats().traffic.readBytes;
  // The socket is full when nothing more is read from the disk for a while of turns.
  for (
    let still = 0, last = 0;
    still < 50;
    still = traffic() === last && last > 0 ? still + 1 : 0
  ) {
    last = traffic();
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  const stopped = traffic();
  assert.ok(stopped > 0 && stopped < 40 * MIB, `${stopped} bytes are on their way`);
  // Somebody else writes over what was read already, and over what was not.
  const other = await ready(s, [], '800000000002');
  const fresh = Buffer.alloc(262144, 0x42);
  for (let lba = 0; lba < 12 * 2048; lba += 512) {
    const write = wire(other, 'write', lba, 512, fresh);
    other.sendBytes(write.bytes);
    assert.equal((await other.result(write.tag)).status, 0);
  }
  i.socket.resume();
  for (const { tag, lba } of reads) {
    const { status, data } = await i.result(tag);
    assert.equal(status, 0);
    for (let n = 0; n < data.length; n += BLOCK) {
      const block = data.subarray(n, n + BLOCK);
      const old = s.bytes.subarray(lba * BLOCK + n, lba * BLOCK + n + BLOCK);
      const whole = block.equals(old) || block.equals(fresh.subarray(0, BLOCK));
      assert.ok(whole, 'no block is half old and half new (durability contract 7)');
    }
  }
  assert.equal(s.server.plane.chunks.taken, 0);
});

test('an image that is cut short in the middle of an answer ends the connection', async (t) => {
  const s = await site(t);
  const i = await ready(s);
  // The target still believes what the kernel said a moment ago.
  truncateSync(s.path, 2 * MIB);
  const { bytes } = wire(i, 'read', 3 * 2048, 1024);
  i.sendBytes(bytes);
  await i.ended();
  const lost = s.events.find((e) => e.kind === 'connection-lost');
  assert.match(lost?.reason ?? '', /in the middle of an answer/);
  assert.equal(s.server.plane.chunks.taken, 0);
  const again = await ready(s);
  const there = wire(again, 'read', 0, 8);
  again.sendBytes(there.bytes);
  assert.equal((await again.result(there.tag)).status, 0);
});

test('a connection that is lost while answers wait leaves nothing behind', async (t) => {
  const s = await site(t);
  const i = await ready(s);
  i.socket.pause();
  const reads = Array.from({ length: 40 }, () => wire(i, 'read', 0, 2048).bytes);
  i.sendBytes(Buffer.concat(reads));
  while (s.server.stats().traffic.readBytes < MIB) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
  i.cut();
  // The socket gives its chunks back when it is closed, and the session is gone.
  while (s.server.stats().sessions.length > 0 || s.server.plane.chunks.taken > 0) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
});
