/**
 * Many TFTP clients in one blocking loop: epoll and recvmmsg, straight to the kernel, so that the
 * generator costs about as much as a client in C and the server under test is what is measured. It
 * owns its process: nothing else runs while it does.
 */
import { closeSync } from 'node:fs';
import { DatagramTarget, openUdpSocket, socketAddress } from '#os/mod.ts';
import { addressOf, bindCall, check, lastErrno } from '../src/os/libc.ts';
import { Receiver } from './tftp-receiver.ts';

/** What every client of the swarm does. */
export type Load = {
  readonly address: string;
  readonly name: string;
  readonly blockBytes: number;
  readonly windowBlocks: number;
  readonly clients: number;
  readonly sizeBytes: number;
};

export type LoadResult = {
  readonly durationMs: number;
  readonly failures: number;
  /** Times a client repeated itself after a second of silence. */
  readonly repeats: number;
};

const EPOLLIN = 1;
const EPOLL_CTL_ADD = 1;
const MSG_DONTWAIT = 0x40;
const BATCH = 64;
const READY = 256;
const MMSGHDR_BYTES = 64;
const SILENCE_MS = 1000;
const TRIES = 15;

const epollCreate = bindCall('int epoll_create1(int flags)');
const epollCtl = bindCall('int epoll_ctl(int epoll, int op, int fd, void *event)');
const epollWait = bindCall('int epoll_wait(int epoll, uintptr_t events, int most, int timeout)');
const recvmmsg = bindCall(
  'int recvmmsg(int fd, uintptr_t messages, unsigned int most, int flags, uintptr_t timeout)',
);

/** Slots for a batch of datagrams, with the kernel's structures that point at them. */
class Inbox {
  readonly #slotBytes: number;
  readonly data: Uint8Array;
  readonly #names = new Uint8Array(BATCH * 16);
  readonly #headers = new Uint8Array(BATCH * MMSGHDR_BYTES);
  readonly #iovecs = new Uint8Array(BATCH * 16);
  readonly #view: DataView;
  readonly #address: number;

  constructor(slotBytes: number) {
    this.#slotBytes = slotBytes;
    this.data = new Uint8Array(BATCH * slotBytes);
    this.#view = new DataView(this.#headers.buffer);
    this.#address = addressOf(this.#headers);
    const iovecs = new DataView(this.#iovecs.buffer);
    const [names, vectors, data] = [this.#names, this.#iovecs, this.data].map((b) => addressOf(b));
    const put = (view: DataView, at: number, value: number): void => {
      view.setBigUint64(at, BigInt(value), true);
    };
    for (let n = 0; n < BATCH; n++) {
      const at = n * MMSGHDR_BYTES;
      put(this.#view, at, (names ?? 0) + n * 16);
      this.#view.setUint32(at + 8, 16, true);
      put(this.#view, at + 16, (vectors ?? 0) + n * 16);
      put(this.#view, at + 24, 1);
      put(iovecs, n * 16, (data ?? 0) + n * slotBytes);
      put(iovecs, n * 16 + 8, slotBytes);
    }
  }

  /** Datagrams taken, 0 when there is none. */
  take(fd: number): number {
    return Math.max(0, recvmmsg()(fd, this.#address, BATCH, MSG_DONTWAIT, 0));
  }

  slotAt(n: number): number {
    return n * this.#slotBytes;
  }

  lengthOf(n: number): number {
    return this.#view.getUint32(n * MMSGHDR_BYTES + 56, true);
  }

  /** The kernel address of the sender, copied. */
  nameOf(n: number): Uint8Array {
    return this.#names.slice(n * 16, n * 16 + 16);
  }
}

class Client {
  readonly fd: number;
  readonly #load: Load;
  readonly #listening: DatagramTarget;
  readonly #packet = new Uint8Array([0, 4, 0, 0]);
  #server: DatagramTarget | undefined;
  #receiver: Receiver | undefined;
  #bytes = 0;
  #failed = false;
  #tries = 0;
  repeats = 0;
  heardAtMs = performance.now();

  constructor(load: Load) {
    this.#load = load;
    this.fd = openUdpSocket({ family: 4, port: 0, receiveBufferBytes: 1 << 20 });
    this.#listening = new DatagramTarget(this.fd, socketAddress(load.address, 69));
    this.#request();
  }

  get over(): boolean {
    return this.#failed || this.#receiver?.done === true;
  }

  get good(): boolean {
    return !this.#failed && this.#bytes === this.#load.sizeBytes;
  }

  /** Takes what has arrived. */
  readable(inbox: Inbox, nowMs: number): void {
    for (;;) {
      const count = inbox.take(this.fd);
      for (let n = 0; n < count; n++) this.#packetIn(inbox, n);
      if (count > 0) this.heardAtMs = nowMs;
      if (count < BATCH || this.over) return;
    }
  }

  /** A second of silence: says it again, and gives up in the end. */
  silent(nowMs: number): void {
    this.heardAtMs = nowMs;
    this.#tries += 1;
    this.repeats += 1;
    if (this.#tries >= TRIES) this.#failed = true;
    else if (this.#receiver === undefined) this.#request();
    else this.#ack(this.#receiver.ack());
  }

  #packetIn(inbox: Inbox, n: number): void {
    const at = inbox.slotAt(n);
    const { data } = inbox;
    this.#server ??= new DatagramTarget(this.fd, inbox.nameOf(n));
    switch (data[at + 1] ?? 0) {
      case 3: {
        this.#receiver ??= new Receiver(512, 1);
        const length = inbox.lengthOf(n) - 4;
        const { accepted, ack } = this.#receiver.data(
          ((data[at + 2] ?? 0) << 8) | (data[at + 3] ?? 0),
          length,
        );
        if (accepted) this.#bytes += length;
        if (ack !== undefined) this.#ack(ack);
        break;
      }
      case 6:
        this.#receiver ??= new Receiver(this.#load.blockBytes, this.#load.windowBlocks);
        if (this.#receiver.haveBlocks === 0) this.#ack(0);
        break;
      default:
        this.#failed = true;
    }
  }

  #ack(block: number): void {
    this.#packet[2] = block >> 8;
    this.#packet[3] = block & 255;
    this.#server?.send(this.#packet, 0, 4);
  }

  #request(): void {
    const { name, blockBytes, windowBlocks } = this.#load;
    const window = windowBlocks > 1 ? `windowsize\0${windowBlocks}\0` : '';
    const text = `\0\u0001${name}\0octet\0blksize\0${blockBytes}\0${window}`;
    const bytes = Buffer.from(text, 'latin1');
    this.#listening.send(bytes, 0, bytes.length);
  }
}

/** Runs the load to its end, blocking the process. */
export function runLoad(load: Load): LoadResult {
  const inbox = new Inbox(load.blockBytes + 64);
  const epoll = check(epollCreate()(0), 'epoll');
  const startedAtMs = performance.now();
  const clients = new Map<number, Client>();
  for (let n = 0; n < load.clients; n++) {
    const client = new Client(load);
    clients.set(client.fd, client);
    // struct epoll_event is packed on x86-64: u32 events, u64 data.
    const event = new Uint8Array(12);
    const view = new DataView(event.buffer);
    view.setUint32(0, EPOLLIN, true);
    view.setUint32(4, client.fd, true);
    check(epollCtl()(epoll, EPOLL_CTL_ADD, client.fd, event), 'epoll');
  }
  const result = drive(epoll, clients, inbox);
  closeSync(epoll);
  return { durationMs: performance.now() - startedAtMs, ...result };
}

function drive(
  epoll: number,
  clients: Map<number, Client>,
  inbox: Inbox,
): { failures: number; repeats: number } {
  const events = new Uint8Array(READY * 12);
  const view = new DataView(events.buffer);
  const address = addressOf(events);
  let failures = 0;
  let repeats = 0;
  let checkedAtMs = 0;
  const finish = (client: Client): void => {
    if (!client.good) failures += 1;
    repeats += client.repeats;
    clients.delete(client.fd);
    closeSync(client.fd);
  };
  while (clients.size > 0) {
    const ready = epollWait()(epoll, address, READY, 100);
    if (ready < 0) throw new Error(`epoll_wait: errno ${lastErrno()}`);
    const nowMs = performance.now();
    for (let n = 0; n < ready; n++) {
      const client = clients.get(view.getUint32(n * 12 + 4, true));
      if (client === undefined) continue;
      client.readable(inbox, nowMs);
      if (client.over) finish(client);
    }
    if (nowMs - checkedAtMs < 100) continue;
    checkedAtMs = nowMs;
    for (const client of clients.values()) {
      if (nowMs - client.heardAtMs >= SILENCE_MS) client.silent(nowMs);
      if (client.over) finish(client);
    }
  }
  return { failures, repeats };
}
