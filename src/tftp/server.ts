import { isIPv6 } from 'node:net';
import { DecodeError, EnvironmentError, UserError, messageOf } from '#base/mod.ts';
import { silentLog, systemClock, type Clock, type Log } from '#base/mod.ts';
import { UdpSocket, type Peer } from '#net/mod.ts';
import { STAGING_BYTES, StreamFrame, type BlockSource } from './blocks.ts';
import { createCounters, type TftpCounter, type TftpCounters } from './counters.ts';
import { memoryFile, type TftpFile, type TftpFiles } from './file.ts';
import { FrameCache } from './frame-cache.ts';
import { toNetascii } from './netascii.ts';
import type { TftpFailure, TftpObserver, TftpRequest } from './observer.ts';
import { blockMaxFor, negotiate, type Agreement } from './options.ts';
import { ERROR_CODE, OPCODE, decodePacket, encodePacket } from './packet.ts';
import type { Packet, RequestPacket } from './packet.ts';
import { Ports, type Port, type PortHandlers } from './ports.ts';
import { Session, type Segmentation } from './session.ts';

/** How the server is set up. */
export type TftpServerOptions = {
  /** The address to listen on; transfers answer from the same one. */
  readonly address: string;
  /** Default 69. */
  readonly port?: number;
  /** Listen on this interface only. */
  readonly interface?: string;
  /** MTU of the path to the clients: blocks that do not fit are not agreed to. Default 1500. */
  readonly mtu?: number;
  readonly files: TftpFiles;
  readonly observer?: TftpObserver;
  readonly log?: Log;
  readonly clock?: Clock;
  /** Answer from the listening port, for networks that translate addresses. */
  readonly singlePort?: boolean;
  /** Options to ignore, such as `blksize`, for clients that ask for them and misbehave. */
  readonly ignoreOptions?: readonly string[];
  /** Transfers at once. Default 1024. */
  readonly maxTransfers?: number;
};

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
/** No client repeats a request sooner than this after data stopped. */
const RESTART_SILENCE_MS = 1000;
/** A netascii file is converted in memory; it is text. */
const NETASCII_MAX_BYTES = 16 * 1024 * 1024;

/** The read-only TFTP server (RFC 1350, 2347, 2348, 2349, 7440). */
export class TftpServer {
  readonly #options: TftpServerOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #observer: TftpObserver;
  readonly #counters: TftpCounters = createCounters();
  readonly #frames = new FrameCache();
  readonly #staging = new Uint8Array(STAGING_BYTES);
  readonly #segmentation: Segmentation = { works: true };
  /** By the client's address and port. */
  readonly #sessions = new Map<string, Session>();
  readonly #opening = new Set<string>();
  readonly #ports: Ports;
  #socket: UdpSocket | undefined;
  #requests = 0;

  private constructor(options: TftpServerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silentLog;
    this.#observer = options.observer ?? {};
    this.#ports = new Ports(this.#log);
  }

  /** Starts listening. Throws EnvironmentError as `openUdpSocket` does. */
  static open(options: TftpServerOptions): TftpServer {
    const server = new TftpServer(options);
    server.#socket = UdpSocket.open(
      {
        ...server.#local(options.port ?? 69),
        receiveBufferBytes: RECEIVE_BUFFER_BYTES,
        sendBufferBytes: SEND_BUFFER_BYTES,
      },
      {
        onMessage: (bytes, from) => {
          server.#onListening(bytes, from);
        },
        onError: (e) => {
          server.#log.warn({ error: e.message }, 'tftp: socket error');
        },
      },
    );
    return server;
  }

  /** The address and port it listens on. */
  get address(): Peer {
    return this.#socket?.localAddress() ?? { address: this.#options.address, port: 0 };
  }

  /** How often what happened. */
  counters(): Record<TftpCounter, number> {
    return this.#counters.snapshot();
  }

  /** Transfers that run now. */
  get transfers(): number {
    return this.#sessions.size;
  }

  /** Ends all transfers, telling their clients, and closes every socket. */
  async close(): Promise<void> {
    for (const session of this.#sessions.values()) {
      session.stop('stopped', 'the server was stopped');
    }
    const socket = this.#socket;
    this.#socket = undefined;
    await Promise.all([this.#ports.close(), socket?.close()]);
  }

  #local(port: number): { family: 4 | 6; address: string; port: number; interface?: string } {
    const { address, interface: name } = this.#options;
    const family = isIPv6(address) ? 6 : 4;
    return { family, address, port, ...(name === undefined ? {} : { interface: name }) };
  }

  #onListening(bytes: Uint8Array, from: Peer): void {
    const opcode = bytes.length >= 2 ? ((bytes[0] ?? 0) << 8) | (bytes[1] ?? 0) : -1;
    const isRequest = opcode === OPCODE.rrq || opcode === OPCODE.wrq;
    if (!isRequest) {
      const session =
        this.#options.singlePort === true ? this.#sessions.get(keyOf(from)) : undefined;
      if (session === undefined) this.#counters.inc('ignoredPackets');
      else session.packet(bytes);
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
    const running = this.#sessions.get(key);
    if (this.#opening.has(key) || (running !== undefined && repeats(packet, running))) {
      this.#counters.inc('duplicateRequests');
      return;
    }
    // A ROM that uses one port for one file after the other, without a last ACK.
    running?.abandon('replaced', 'the client asked again from the same port');
    if (!this.#hasRoom()) {
      // Silence, not an ERROR: clients repeat their request, and somebody will have finished.
      this.#counters.inc('busy');
      return;
    }
    this.#counters.inc('requests');
    const request: TftpRequest = {
      id: ++this.#requests,
      client: { address: from.address, port: from.port },
      name: packet.name,
      mode: packet.mode,
      options: Object.fromEntries(packet.options.toReversed()),
    };
    this.#observer.request?.(request);
    if (packet.mode !== 'octet' && packet.mode !== 'netascii') {
      this.#counters.inc('badMode');
      this.#refuse(from, ERROR_CODE.illegalOperation, 'Only octet and netascii are served');
      this.#observer.failed?.(request, 'bad-mode', `there is no transfer mode "${packet.mode}"`);
      return;
    }
    this.#opening.add(key);
    void this.#open(request, packet).finally(() => {
      this.#opening.delete(key);
    });
  }

  /** When all places are taken, one that never answered makes room: it may well be forged. */
  #hasRoom(): boolean {
    const most = this.#options.maxTransfers ?? MAX_TRANSFERS;
    if (this.#sessions.size + this.#opening.size < most) return true;
    for (const session of this.#sessions.values()) {
      if (session.verified || session.ageMs < UNANSWERED_MS) continue;
      session.stop('no-answer', 'its place was needed, and it had never answered');
      return true;
    }
    return false;
  }

  async #open(request: TftpRequest, packet: RequestPacket): Promise<void> {
    let file: TftpFile;
    try {
      file = await this.#options.files.open(request.name, request.client);
      if (request.mode === 'netascii') file = await converted(file);
    } catch (e) {
      this.#cannotOpen(request, e);
      return;
    }
    if (this.#socket === undefined) {
      file.close();
      return;
    }
    const agreement = negotiate(packet.options, file.sizeBytes, {
      blockMaxBytes: blockMaxFor(this.#options.mtu ?? 1500, isIPv6(this.#options.address) ? 6 : 4),
      ignore: this.#options.ignoreOptions ?? [],
    });
    try {
      this.#start(request, file, agreement);
    } catch (e) {
      file.close();
      this.#cannotOpen(request, e);
    }
  }

  #start(request: TftpRequest, file: TftpFile, agreement: Agreement): void {
    const key = keyOf(request.client);
    const { source, release } = this.#sourceOf(file, agreement);
    const port = this.#openPort(request.client, {
      fromClient: (bytes) => {
        session.packet(bytes);
      },
      fromStranger: (bytes, answer) => {
        // RFC 1350 §4: tell the stranger, and go on. Never answer an ERROR with one.
        this.#counters.inc('strayPackets');
        if (bytes[1] === OPCODE.error) return;
        answer(errorPacket(ERROR_CODE.unknownTransferId, 'Unknown transfer'));
      },
      roundTripMs: () => session.roundTripMs,
    });
    const session = new Session({
      request,
      agreement,
      source,
      sizeBytes: file.sizeBytes,
      target: port.target,
      segmentation: this.#segmentation,
      clock: this.#clock,
      counters: this.#counters,
      observer: this.#observer,
      onEnd: () => {
        this.#sessions.delete(key);
        release();
        file.close();
        port.close();
      },
    });
    this.#sessions.set(key, session);
    session.start();
  }

  #sourceOf(
    file: TftpFile,
    agreement: Agreement,
  ): { readonly source: BlockSource; readonly release: () => void } {
    const { blockBytes, windowBlocks } = agreement;
    const shared =
      file.content === undefined ? undefined : this.#frames.acquire(file.content, blockBytes);
    if (shared !== undefined) return { source: shared.frame, release: shared.release };
    const source = new StreamFrame(file, blockBytes, windowBlocks, this.#staging);
    return { source, release() {} };
  }

  /** A port of its own for the transfer (its TID), or the listening one. */
  #openPort(client: Peer, handlers: PortHandlers): Port {
    if (this.#options.singlePort === true && this.#socket !== undefined) {
      return { target: this.#socket.target(client), close() {} };
    }
    const local = { ...this.#local(0), sendBufferBytes: SEND_BUFFER_BYTES };
    return this.#ports.open(local, client, handlers);
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
    this.#socket?.send(errorPacket(code, message), to.port, to.address);
  }
}

function keyOf(peer: Peer): string {
  return `${peer.address}|${peer.port}`;
}

/**
 * Whether that request is the one that is being served already: the client repeated itself because
 * our first packet was late, and the copy may arrive when data flows. A client that really starts
 * again has been silent before.
 */
function repeats(packet: RequestPacket, running: Session): boolean {
  if (running.request.name !== packet.name) return false;
  return !running.verified || running.silentMs < RESTART_SILENCE_MS;
}

function errorPacket(code: number, message: string): Buffer {
  return encodePacket({ op: 'error', code, message });
}

/** The one mapping of errors to the wire; no internal text leaves. */
function refusalOf(e: unknown): {
  counter: TftpCounter;
  code: number;
  text: string;
  reason: TftpFailure;
} {
  if (e instanceof UserError && e.kind === 'not-found') {
    const code = ERROR_CODE.notFound;
    return { counter: 'notFound', code, text: 'File not found', reason: 'not-found' };
  }
  if (e instanceof UserError && e.kind === 'forbidden') {
    const code = ERROR_CODE.accessViolation;
    return { counter: 'forbidden', code, text: 'Access violation', reason: 'forbidden' };
  }
  const code = ERROR_CODE.undefined;
  return { counter: 'unavailable', code, text: 'The file cannot be read', reason: 'unavailable' };
}

/** The whole file as netascii, in memory. */
async function converted(file: TftpFile): Promise<TftpFile> {
  try {
    if (file.sizeBytes > NETASCII_MAX_BYTES) {
      throw new EnvironmentError('netascii-too-large', {
        what: 'the file is too large for netascii',
        why: 'that mode is for text, and is converted in memory',
        todo: 'ask for it in octet (binary) mode',
      });
    }
    if (file.content !== undefined) return memoryFile(toNetascii(file.content));
    const bytes = new Uint8Array(file.sizeBytes);
    const got = await file.read(bytes, 0, bytes.length, 0);
    return memoryFile(toNetascii(bytes.subarray(0, got)));
  } finally {
    file.close();
  }
}
