import { isIPv6 } from 'node:net';
import { DecodeError, messageOf, silentLog, systemClock, type Clock, type Log } from '#base/mod.ts';
import { UdpSocket, type Peer } from '#net/mod.ts';
import { asNetascii } from './ascii-file.ts';
import { TFTP_COUNTERS, createCounters, type TftpCounter, type TftpCounters } from './counters.ts';
import type { TftpFile } from './file.ts';
import { FrameCache } from './frame-cache.ts';
import { failedJob } from './lane-loop.ts';
import { LanePool, defaultThreads } from './lane-pool.ts';
import { LocalLane, type JobSource, type Lane, type LaneEvent, type LaneJob } from './lane.ts';
import type { TftpObserver, TftpRequest } from './observer.ts';
import { blockMaxFor, negotiate, type Agreement } from './options.ts';
import { ERROR_CODE, OPCODE, decodePacket, encodePacket } from './packet.ts';
import type { Packet, RequestPacket } from './packet.ts';
import { refusalOf } from './refusal.ts';
import type { TftpServerOptions } from './server-options.ts';

/**
 * A classroom of 500 that powers on twice; each transfer costs a socket and at most 0.7 MB (two
 * chunks of a window and its headers), usually 0.
 */
const MAX_TRANSFERS = 1024;
/**
 * 500 requests of one power-on arrive while one of them is being opened; at 2 KB of kernel memory
 * per small datagram 4 MB hold two thousand.
 */
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;
/** Room for two of the largest windows, so that a burst is not cut. */
const SEND_BUFFER_BYTES = 1024 * 1024;
/** How long an unanswered transfer keeps its place when others wait: one resend and its answer. */
const UNANSWERED_MS = 2000;
/**
 * A request for the file that is being sent is a late copy when there was news of the transfer (its
 * start, a quarter of it) within this time: longer than clients wait before they repeat themselves.
 */
const RESTART_SILENCE_MS = 3000;
const DEFAULT_MTU = 1500;

/** The read-only TFTP server (RFC 1350, 2347, 2348, 2349, 7440). */
export class TftpServer {
  readonly #options: TftpServerOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #observer: TftpObserver;
  readonly #counters: TftpCounters = createCounters();
  readonly #frames = new FrameCache();
  /** Where transfers run; in single-port mode here, on the listening socket. */
  readonly #lanes: LanePool | LocalLane;
  /** Running transfers by their number, and the same by the client's address and port. */
  readonly #running = new Map<number, Running>();
  readonly #byClient = new Map<string, Running>();
  readonly #opening = new Set<string>();
  #socket: UdpSocket | undefined;
  #requests = 0;
  #closed: Promise<void> | undefined;

  private constructor(options: TftpServerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silentLog;
    this.#observer = options.observer ?? {};
    const tell = (event: LaneEvent): void => {
      this.#onLane(event);
    };
    this.#lanes =
      options.singlePort === true
        ? new LocalLane(tell, this.#clock)
        : new LanePool(options.threads ?? defaultThreads(), tell, this.#log);
  }

  /** Starts listening. Rejects with EnvironmentError as `openUdpSocket` does. */
  static async open(options: TftpServerOptions): Promise<TftpServer> {
    const server = new TftpServer(options);
    try {
      server.#listen();
      return server;
    } catch (e) {
      await server.close();
      throw e;
    }
  }

  /** The address and port it listens on. */
  get address(): Peer {
    return this.#socket?.localAddress() ?? { address: this.#options.address, port: 0 };
  }

  /** Transfers that run now. */
  get transfers(): number {
    return this.#running.size;
  }

  /** How often what happened; a transfer's packets are added when it ends. */
  counters(): Record<TftpCounter, number> {
    return this.#counters.snapshot();
  }

  /** Ends all transfers, telling their clients, and closes every socket. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const socket = this.#socket;
    this.#socket = undefined;
    await this.#lanes.close();
    await socket?.close();
  }

  #listen(): void {
    const buffers = {
      receiveBufferBytes: RECEIVE_BUFFER_BYTES,
      sendBufferBytes: SEND_BUFFER_BYTES,
    };
    this.#socket = UdpSocket.open(
      { ...this.#local(this.#options.port ?? 69), ...buffers },
      {
        onMessage: (bytes, from) => {
          this.#onListening(bytes, from);
        },
        onError: (e) => {
          this.#log.warn({ error: e.message }, 'tftp: socket error');
        },
      },
    );
  }

  #local(port: number): { family: 4 | 6; address: string; port: number; interface?: string } {
    const { address, interface: name } = this.#options;
    const family = isIPv6(address) ? 6 : 4;
    return { family, address, port, ...(name === undefined ? {} : { interface: name }) };
  }

  #onListening(bytes: Uint8Array, from: Peer): void {
    const opcode = bytes.length >= 2 ? ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0) : -1;
    if (opcode !== OPCODE.rrq && opcode !== OPCODE.wrq) {
      const running = this.#byClient.get(keyOf(from));
      // In single-port mode the packets of all transfers come here.
      if (running !== undefined && this.#lanes instanceof LocalLane) {
        this.#lanes.packet(running.request.id, bytes);
      } else this.#counters.inc('ignoredPackets');
      return;
    }
    let packet: Packet;
    try {
      packet = decodePacket(bytes);
    } catch (e) {
      if (!(e instanceof DecodeError)) throw e;
      this.#counters.inc('malformed');
      this.#refuse(from, ERROR_CODE.illegalOperation, 'Malformed request');
      return;
    }
    if (packet.op === 'rrq') this.#onRead(packet, from);
    else if (packet.op === 'wrq') {
      this.#counters.inc('writeRefused');
      this.#refuse(from, ERROR_CODE.accessViolation, 'This server is read-only');
    }
  }

  #onRead(packet: RequestPacket, from: Peer): void {
    const key = keyOf(from);
    const running = this.#byClient.get(key);
    if (this.#opening.has(key) || (running !== undefined && this.#repeats(packet, running))) {
      this.#counters.inc('duplicateRequests');
      return;
    }
    if (running !== undefined) {
      // A ROM that uses one port for one file after the other, without a last ACK.
      this.#byClient.delete(key);
      const { lane, request } = running;
      lane.stop(request.id, 'replaced', 'the client asked again from the same port', false);
    }
    if (!this.#hasRoom()) {
      // Silence, not an ERROR: clients repeat their request, and somebody will have finished.
      this.#counters.inc('busy');
      return;
    }
    const request: TftpRequest = {
      id: ++this.#requests,
      client: { address: from.address, port: from.port },
      name: packet.name,
      mode: packet.mode,
      options: Object.fromEntries(packet.options.toReversed()),
    };
    this.#counters.inc('requests');
    this.#observer.request?.(request);
    if (packet.mode !== 'octet' && packet.mode !== 'netascii') {
      this.#counters.inc('badMode');
      this.#counters.inc('failed');
      this.#refuse(from, ERROR_CODE.illegalOperation, 'Only octet and netascii are served');
      this.#observer.failed?.(request, 'bad-mode', `there is no transfer mode "${packet.mode}"`);
      return;
    }
    this.#opening.add(key);
    void this.#open(request, packet).finally(() => {
      this.#opening.delete(key);
    });
  }

  /**
   * Whether that request is the one that is being served already: the client repeated itself
   * because our first packet was late, and the copy may arrive when data flows. A client that
   * really starts again has been silent before.
   */
  #repeats(packet: RequestPacket, running: Running): boolean {
    if (running.request.name !== packet.name) return false;
    return !running.verified || this.#clock.monotonicMs() - running.newsAtMs < RESTART_SILENCE_MS;
  }

  /** When all places are taken, one that never answered makes room: it may well be forged. */
  #hasRoom(): boolean {
    const most = this.#options.maxTransfers ?? MAX_TRANSFERS;
    if (this.#running.size + this.#opening.size < most) return true;
    const beforeMs = this.#clock.monotonicMs() - UNANSWERED_MS;
    for (const { verified, newsAtMs, lane, request } of this.#running.values()) {
      if (verified || newsAtMs > beforeMs) continue;
      lane.stop(request.id, 'no-answer', 'its place was needed, and it never answered', true);
      return true;
    }
    return false;
  }

  async #open(request: TftpRequest, packet: RequestPacket): Promise<void> {
    let file: TftpFile;
    try {
      file = await this.#options.files.open(request.name, request.client);
      if (request.mode === 'netascii') file = await asNetascii(file);
    } catch (e) {
      this.#cannotOpen(request, e);
      return;
    }
    if (this.#socket === undefined) {
      file.close();
      return;
    }
    const family = isIPv6(this.#options.address) ? 6 : 4;
    const agreement = negotiate(packet.options, file.sizeBytes, {
      blockMaxBytes: blockMaxFor(this.#options.mtu ?? DEFAULT_MTU, family),
      ignore: this.#options.ignoreOptions ?? [],
    });
    try {
      this.#start(request, file, agreement, this.#socket);
    } catch (e) {
      this.#onLane(failedJob(request.id, messageOf(e)));
      this.#refuse(request.client, ERROR_CODE.undefined, 'The file cannot be served');
    }
  }

  #start(request: TftpRequest, file: TftpFile, agreement: Agreement, socket: UdpSocket): void {
    const lanes = this.#lanes;
    const place = lanes instanceof LanePool ? lanes.take() : { lane: lanes, leave: () => {} };
    const { lane, leave } = place;
    const { source, release } = this.#sourceOf(file, agreement.blockBytes);
    const running: Running = {
      request,
      sizeBytes: file.sizeBytes,
      agreement,
      lane,
      newsAtMs: this.#clock.monotonicMs(),
      verified: false,
      letGo: () => {
        leave();
        release();
        file.close();
      },
    };
    this.#running.set(request.id, running);
    this.#byClient.set(keyOf(request.client), running);
    const job: LaneJob = {
      id: request.id,
      client: request.client,
      sizeBytes: file.sizeBytes,
      agreement,
      source,
      local: { ...this.#local(0), sendBufferBytes: SEND_BUFFER_BYTES },
    };
    if (lane instanceof LocalLane) {
      lane.add(job, socket.target(request.client), () => {}).start();
    } else lane.start(job);
  }

  #sourceOf(
    file: TftpFile,
    blockBytes: number,
  ): { readonly source: JobSource; readonly release: () => void } {
    if (!('content' in file)) return { source: { kind: 'fd', fd: file.fd }, release() {} };
    const held = this.#frames.acquire(file.content, blockBytes);
    if (held === undefined) {
      return { source: { kind: 'content', content: file.content }, release() {} };
    }
    return { source: { kind: 'framed', framed: held.frame }, release: held.release };
  }

  #onLane(event: LaneEvent): void {
    const running = this.#running.get(event.id);
    if (running === undefined) return;
    const { request, agreement, sizeBytes } = running;
    running.newsAtMs = this.#clock.monotonicMs();
    switch (event.kind) {
      case 'started': {
        running.verified = true;
        this.#counters.inc('started');
        const { blockBytes, windowBlocks } = agreement;
        this.#observer.started?.(request, { sizeBytes, blockBytes, windowBlocks });
        break;
      }
      case 'progress':
        this.#observer.progress?.(request, event.sentBytes);
        break;
      case 'ended':
        this.#running.delete(event.id);
        if (this.#byClient.get(keyOf(request.client)) === running) {
          this.#byClient.delete(keyOf(request.client));
        }
        running.letGo();
        for (const name of TFTP_COUNTERS) this.#counters.inc(name, event.tally[name] ?? 0);
        this.#tellEnd(running, event);
        break;
    }
  }

  #tellEnd(running: Running, event: LaneEvent & { readonly kind: 'ended' }): void {
    const { request, sizeBytes } = running;
    const { ending, durationMs } = event;
    switch (ending.kind) {
      case 'finished': {
        const { acknowledged } = ending;
        const retransmissions = event.tally.retransmittedBlocks ?? 0;
        this.#counters.inc(acknowledged ? 'finished' : 'unacknowledged');
        const facts = { sizeBytes, durationMs, retransmissions, acknowledged };
        this.#observer.finished?.(request, facts);
        break;
      }
      case 'probe':
        this.#counters.inc('probes');
        this.#observer.probe?.(request, sizeBytes);
        break;
      case 'failed':
        this.#counters.inc('failed');
        this.#observer.failed?.(request, ending.reason, ending.message);
        break;
    }
  }

  #cannotOpen(request: TftpRequest, e: unknown): void {
    const { counter, code, text, reason } = refusalOf(e);
    this.#counters.inc(counter);
    this.#counters.inc('failed');
    this.#refuse(request.client, code, text);
    this.#observer.failed?.(request, reason, messageOf(e));
    if (reason === 'unavailable') {
      this.#log.error({ name: request.name, error: messageOf(e) }, 'tftp: cannot open a file');
    }
  }

  #refuse(to: Peer, code: number, message: string): void {
    this.#socket?.send(encodePacket({ op: 'error', code, message }), to.port, to.address);
  }
}

/** A transfer as this thread knows it. */
type Running = {
  readonly request: TftpRequest;
  readonly sizeBytes: number;
  readonly agreement: Agreement;
  readonly lane: Lane | LocalLane;
  /** When the lane last told of it. */
  newsAtMs: number;
  verified: boolean;
  /** Gives back the file, its frame and its place in the lane. */
  readonly letGo: () => void;
};

function keyOf(peer: Peer): string {
  return `${peer.address}|${peer.port}`;
}
