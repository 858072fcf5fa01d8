import { createServer } from 'node:net';

/** Below the ports that Linux gives to outgoing connections (32768 and more). */
const FIRST = 12_000;
const LAST = 31_999;

/**
 * A TCP port of loopback that nobody has, for a server that cannot be asked which one the kernel
 * gave it. Not one of those that the kernel gives away by itself: between this and the server's own
 * bind, any connection of another test could get it. Where processes begin to look differs.
 */
export async function freePort(): Promise<number> {
  const count = LAST - FIRST + 1;
  for (let n = 0, port = FIRST + ((process.pid * 97) % count); n < count; n++) {
    if (await isFree(port)) return port;
    port = port === LAST ? FIRST : port + 1;
  }
  throw new Error('no free port');
}

/** Asks the kernel; throws when it refuses for another reason than that somebody has it. */
async function isFree(port: number): Promise<boolean> {
  return await new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else reject(error);
    });
    server.listen(port, '127.0.0.1', () => {
      server.close(() => {
        resolve(true);
      });
    });
  });
}
