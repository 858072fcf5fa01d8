import { connect } from 'node:net';
import type { NetConnectOpts } from 'node:net';
import type { NbdAddress } from './url.ts';
import type { Dial, Wire, WireEvents } from './wire.ts';

/** One receive buffer for each connection: a read of 128 KiB arrives in two pieces at most. */
const RECEIVE_BYTES = 128 * 1024;
/** A server that lost its power says nothing; TCP asks it after this long. */
const KEEP_ALIVE_MS = 10_000;

/** Connects to where an export is, by TCP or a Unix socket. */
export function dialOf(address: NbdAddress): Dial {
  const { at } = address;
  const where = at.kind === 'tcp' ? { host: at.host, port: at.port } : { path: at.path };
  return (events) => open(where, events);
}

function open(where: { host: string; port: number } | { path: string }, events: WireEvents): Wire {
  const buffer = Buffer.allocUnsafeSlow(RECEIVE_BYTES);
  let alive = true;
  let corked = false;
  const options: NetConnectOpts = {
    ...where,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_MS,
    onread: {
      buffer,
      callback: (length) => {
        if (alive) events.received(buffer, length);
        return alive;
      },
    },
  };
  const socket = connect(options);
  const lost = (reason: string): void => {
    if (!alive) return;
    alive = false;
    socket.destroy();
    events.closed(reason);
  };
  socket.on('connect', () => {
    if (alive) events.connected();
  });
  socket.on('error', (e) => {
    lost(e.message);
  });
  socket.on('end', () => {
    lost('the server ended the connection');
  });
  socket.on('close', () => {
    lost('the connection was closed');
  });
  return {
    write(bytes) {
      if (!alive) return;
      // What is written in one turn leaves together.
      if (!corked) {
        corked = true;
        socket.cork();
        process.nextTick(() => {
          corked = false;
          socket.uncork();
        });
      }
      socket.write(bytes);
    },
    end() {
      alive = false;
      socket.end();
      socket.destroySoon();
    },
    destroy() {
      alive = false;
      socket.destroy();
    },
  };
}
