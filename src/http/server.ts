import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { Counters, EnvironmentError, InternalError, errnoOf } from '#base/mod.ts';
import { messageOf, silentLog, systemClock } from '#base/mod.ts';
import type { Cancel, Clock } from '#base/mod.ts';
import { DateHeader, errorAnswer } from './answer.ts';
import { LIMITS } from './limits.ts';
import { encodeHead } from './respond.ts';
import { Connection } from './server-connection.ts';
import type { ConnectionShared } from './server-connection.ts';
import { FileStore } from './server-files.ts';
import { HTTP_COUNTERS } from './server-options.ts';
import type { HttpCounter, HttpListen, HttpServerOptions } from './server-options.ts';
import { BufferPool } from './server-sender.ts';
import { loadDirectSend } from './server-sendfile.ts';

/** How often time limits are looked at; they are all 2 s and more. */
const SWEEP_MS = 500;
/** Connections the kernel may hold for us while a classroom powers on. */
const BACKLOG = 1024;

/**
 * The boot listener: HTTP/1.1 for firmware, iPXE and booted guests. Our own server over `node:net`
 * and not `node:http`: what it accepts is ours to bound and to test by a clock (LIMITS, decodeHead,
 * RequestReader), and a body goes from the page cache to the socket by sendfile. Measured: CPU per
 * 64 KiB range 28 µs against 38 of a bare node:http that writes from memory, per 30 MB file 4.5 ms
 * against 7.5; a 2 KiB answer costs the same, about 20 µs.
 */
export class HttpServer {
  readonly #options: HttpServerOptions;
  readonly #clock: Clock;
  readonly #counters = new Counters<HttpCounter>(HTTP_COUNTERS);
  readonly #files: FileStore;
  readonly #shared: ConnectionShared;
  readonly #connections = new Set<Connection>();
  readonly #perAddress = new Map<string, number>();
  #listeners: Server[] = [];
  #cancelSweep: Cancel | undefined;
  #stopping = false;

  constructor(options: HttpServerOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#files = new FileStore(this.#clock);
    let transfers = 0;
    this.#shared = {
      site: options.site,
      observer: options.observer,
      log: options.log ?? silentLog,
      clock: this.#clock,
      files: this.#files,
      pool: new BufferPool(),
      direct: loadDirectSend(),
      counters: this.#counters,
      date: new DateHeader(),
      nextTransfer: () => (transfers += 1),
    };
  }

  /** What happened so far, by name. */
  get counters(): Readonly<Record<HttpCounter, number>> {
    return this.#counters.snapshot();
  }

  /** Open connections. */
  get openConnections(): number {
    return this.#connections.size;
  }

  /** Where it really listens (ports chosen by the kernel filled in). */
  get addresses(): readonly HttpListen[] {
    return this.#listeners.map((l) => {
      const { address, port } = l.address() as AddressInfo;
      return { address, port };
    });
  }

  /** Listens everywhere or nowhere. Throws EnvironmentError when an address cannot be had. */
  async start(): Promise<void> {
    if (this.#listeners.length > 0) throw new InternalError('HttpServer started twice');
    try {
      for (const at of this.#options.listen) this.#listeners.push(await this.#listen(at));
    } catch (e) {
      for (const listener of this.#listeners) listener.close();
      this.#listeners = [];
      throw e;
    }
    this.#scheduleSweep();
  }

  /**
   * Stops accepting, lets running answers end for `LIMITS.stopMs`, then cuts the rest. Resolves
   * when every socket and file is closed.
   */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#cancelSweep?.();
    const closed = this.#listeners.map(
      (l) =>
        new Promise<void>((resolve) => {
          l.close(() => {
            resolve();
          });
        }),
    );
    // The listener counts a socket as gone before its 'close' is told; ours go after that.
    for (const c of this.#connections) {
      closed.push(new Promise((resolve) => c.socket.once('close', () => resolve())));
      c.finish();
    }
    const cut = this.#clock.after(LIMITS.stopMs, () => {
      for (const c of this.#connections) c.socket.destroy();
    });
    await Promise.all(closed);
    cut();
    this.#files.close();
    this.#listeners = [];
  }

  async #listen(at: HttpListen): Promise<Server> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.#accept(socket);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (e) => {
        reject(listenError(at, e));
      });
      server.listen({ host: at.address, port: at.port, backlog: BACKLOG }, resolve);
    });
    // EMFILE and the like while accepting: said once per event, the listener lives on.
    server.on('error', (e) => this.#shared.log.error({ error: e }, 'boot listener'));
    return server;
  }

  #accept(socket: Socket): void {
    if (this.#stopping || socket.remoteAddress === undefined) {
      socket.destroy();
      return;
    }
    const connection = new Connection(socket, this.#shared);
    const address = connection.remoteAddress;
    this.#counters.inc('connections');
    if (!this.#makeRoom(address)) {
      this.#counters.inc('turned-away');
      const busy = errorAnswer(503, 'too many connections');
      socket.write(encodeHead(busy.plan, this.#shared.date.at(this.#clock.wallMs()), false));
      socket.write(busy.body);
      socket.destroySoon();
    }
    this.#connections.add(connection);
    this.#perAddress.set(address, (this.#perAddress.get(address) ?? 0) + 1);
    socket.once('close', () => {
      this.#connections.delete(connection);
      const left = (this.#perAddress.get(address) ?? 1) - 1;
      if (left > 0) this.#perAddress.set(address, left);
      else this.#perAddress.delete(address);
    });
  }

  /**
   * Room for one more: at a limit the connection that has waited longest goes, first among those of
   * the same address. So idle sockets, however many, never keep a machine from booting.
   */
  #makeRoom(address: string): boolean {
    const own = this.#perAddress.get(address) ?? 0;
    if (own >= LIMITS.socketsPerAddress) return this.#evict((c) => c.remoteAddress === address);
    if (this.#connections.size < LIMITS.sockets) return true;
    return this.#evict(() => true);
  }

  #evict(among: (c: Connection) => boolean): boolean {
    for (const c of this.#connections) {
      if (c.answering || !among(c)) continue;
      this.#counters.inc('evicted');
      // Leaves the set now: its 'close' comes a tick later, and the next one must not choose it.
      this.#connections.delete(c);
      c.socket.destroy();
      return true;
    }
    return false;
  }

  #scheduleSweep(): void {
    this.#cancelSweep = this.#clock.after(SWEEP_MS, () => {
      const now = this.#clock.monotonicMs();
      for (const c of this.#connections) c.sweep(now);
      this.#scheduleSweep();
    });
  }
}

function listenError(at: HttpListen, cause: Error): EnvironmentError {
  const where = `${at.address}:${at.port}`;
  const what = `the boot listener cannot use ${where}`;
  const errno = errnoOf(cause);
  if (errno === 'EADDRINUSE') {
    const why = `another program listens on TCP port ${at.port}`;
    const todo = `see which: "ss -ltnp sport = :${at.port}"; stop it, or choose another http port`;
    return new EnvironmentError('port-taken', { what, why, todo }, { cause });
  }
  if (errno === 'EACCES') {
    const why = 'ports below 1024 need root or CAP_NET_BIND_SERVICE';
    const todo = 'start as root, or choose an http port above 1023';
    return new EnvironmentError('port-forbidden', { what, why, todo }, { cause });
  }
  if (errno === 'EADDRNOTAVAIL') {
    const why = `no interface of this host has the address ${at.address}`;
    const todo = 'see "ip addr" and mend the address in the configuration';
    return new EnvironmentError('no-such-address', { what, why, todo }, { cause });
  }
  return new EnvironmentError('listen-failed', { what, why: messageOf(cause) }, { cause });
}
