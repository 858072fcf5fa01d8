import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';

/** A Unix socket on which exactly one peer is expected: QEMU, which connects while it starts. */
export class OneConnection {
  readonly #server: Server;
  readonly #socket: Promise<Socket>;

  private constructor(server: Server) {
    this.#server = server;
    this.#socket = new Promise((resolve) => {
      server.once('connection', (socket) => {
        // From now on the path leads nowhere: nobody else can drive the machine through it.
        server.close();
        resolve(socket);
      });
    });
  }

  /** Listens on `path`. */
  static async listen(path: string): Promise<OneConnection> {
    const server = createServer();
    const one = new OneConnection(server);
    server.listen(path);
    await once(server, 'listening');
    return one;
  }

  /** The connection, when it comes. */
  get socket(): Promise<Socket> {
    return this.#socket;
  }

  /** Stops waiting. */
  close(): void {
    if (this.#server.listening) this.#server.close();
  }
}
