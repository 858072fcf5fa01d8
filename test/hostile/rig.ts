/** A real target on a real port for one test, with a disk and a clock that the test holds. */
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { FakeClock } from '#base/mod.ts';
import { FilterDevice, MemoryDevice, openRaw } from '#block/mod.ts';
import type { BlockDevice, BlockDone, BlockError } from '#block/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import type { ExportConfig, TargetEvent, TargetServerOptions } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';
import type { UnitOptions } from '#scsi/mod.ts';
import { RawInitiator } from './raw-initiator.ts';
import type { Dial, RawLogin } from './raw-initiator.ts';

export const TARGET = 'iqn.2026-11.test:disk';
export const DISK_BYTES: number = 4 * 1024 * 1024;

const IDENTITY = {
  vendor: 'POLYBOOT',
  product: 'HOSTILE',
  revision: '1',
  serial: 'hostile-0',
  naa: '3000000000000001',
} as const;

export type RigOptions = {
  readonly device?: BlockDevice;
  readonly config?: Partial<ExportConfig>;
  readonly unit?: Partial<UnitOptions>;
  readonly server?: TargetServerOptions;
  /** More targets with the same disk. */
  readonly more?: readonly ExportConfig[];
};

export type Rig = {
  readonly server: TargetServer;
  readonly clock: FakeClock;
  readonly port: number;
  readonly device: BlockDevice;
  readonly events: TargetEvent[];
  dial(to?: Partial<Dial>): Promise<RawInitiator>;
  /** Connected, logged in, and past the unit attention of a new nexus. */
  enter(login?: RawLogin, to?: Partial<Dial>): Promise<RawInitiator>;
};

/** Starts it; it ends with the test. */
export async function rig(t: TestContext, options: RigOptions = {}): Promise<Rig> {
  const clock = new FakeClock();
  const events: TargetEvent[] = [];
  const observer = {
    event: (event: TargetEvent): void => {
      events.push(event);
    },
  };
  const server = new TargetServer({ clock, observer, ...options.server });
  const device = options.device ?? new MemoryDevice({ sizeBytes: DISK_BYTES });
  const units = new LogicalUnitSet({ targetName: TARGET });
  const abortTasks: UnitOptions['abortTasks'] = (nexus) => server.abortTasksOf(nexus, 0);
  units.add(0, new LogicalUnit({ device, identity: IDENTITY, abortTasks, ...options.unit }));
  server.addExport({ iqn: TARGET, access: 'any', takeover: false, ...options.config }, units);
  for (const config of options.more ?? []) server.addExport(config, units);
  const { port, dial } = await listening(t, server, clock);
  const enter = async (login: RawLogin = {}, to: Partial<Dial> = {}): Promise<RawInitiator> => {
    const peer = await dial(to);
    await peer.login(login);
    await peer.settle();
    return peer;
  };
  return { server, clock, port, device, events, dial, enter };
}

/** Opens a port of a server that ends with the test, and dials it. */
export async function listening(
  t: TestContext,
  server: TargetServer,
  clock: FakeClock,
): Promise<Pick<Rig, 'port' | 'dial'>> {
  const [portal] = await server.listen([{ address: '127.0.0.1', port: 0 }]);
  const port = portal?.port ?? 0;
  const peers: RawInitiator[] = [];
  t.after(async () => {
    for (const peer of peers) peer.socket.destroy();
    const stopped = server.close();
    clock.advance(60_000);
    await stopped;
  });
  const dial = async (to: Partial<Dial> = {}): Promise<RawInitiator> => {
    const peer = await RawInitiator.open({ port, ...to });
    peers.push(peer);
    return peer;
  };
  return { port, dial };
}

/** A raw image in a folder of its own, and its bytes as the file system has them. */
export type ImageFile = { readonly device: BlockDevice; readonly content: () => Buffer };

/** Makes an empty one; it ends with the test. */
export async function imageFile(t: TestContext, sizeBytes = DISK_BYTES): Promise<ImageFile> {
  const folder = mkdtempSync(join(tmpdir(), 'polyboot-hostile-'));
  const path = join(folder, 'disk.img');
  writeFileSync(path, '');
  truncateSync(path, sizeBytes);
  const device = await openRaw(path);
  t.after(async () => {
    await new Promise((resolve) => {
      device.close(resolve);
    });
    rmSync(folder, { recursive: true });
  });
  return { device, content: () => readFileSync(path) };
}

/** Waits until something is true, looking whenever the event loop has turned. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) {
    await new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

/** Bytes that say which write they came from. */
export function marked(lengthBytes: number, mark: number): Uint8Array {
  return new Uint8Array(lengthBytes).fill(mark);
}

type Waiting = { readonly act: () => void; readonly done: BlockDone };

/**
 * A disk whose reads and writes wait until they are let through: `waiting` are those that a real
 * disk would be at work on. What is let through reaches the device below.
 */
export class HeldDevice extends FilterDevice {
  readonly waiting: Waiting[] = [];
  /** While true nothing waits. */
  open = false;

  override tryRead(offset: number, into: Uint8Array, at: number, lengthBytes: number): boolean {
    return this.open && this.inner.tryRead(offset, into, at, lengthBytes);
  }

  override tryWrite(offset: number, from: Uint8Array, at: number, lengthBytes: number): boolean {
    return this.open && this.inner.tryWrite(offset, from, at, lengthBytes);
  }

  override read(
    offset: number,
    into: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#hold(() => {
      this.inner.read(offset, into, at, lengthBytes, done);
    }, done);
  }

  override write(
    offset: number,
    from: Uint8Array,
    at: number,
    lengthBytes: number,
    done: BlockDone,
  ): void {
    this.#hold(() => {
      this.inner.write(offset, from, at, lengthBytes, done);
    }, done);
  }

  /** Lets the oldest `count` through to the device. */
  release(count = Infinity): void {
    for (const each of this.waiting.splice(0, Math.min(count, this.waiting.length))) each.act();
  }

  /** Fails the oldest `count` instead. */
  fail(error: BlockError, count = Infinity): void {
    for (const each of this.waiting.splice(0, Math.min(count, this.waiting.length))) {
      each.done(error);
    }
  }

  /** Everything goes straight through from now on. */
  unlock(): void {
    this.open = true;
    this.release();
  }

  #hold(act: () => void, done: BlockDone): void {
    if (this.open) act();
    else this.waiting.push({ act, done });
  }
}
