import { chmodSync, lstatSync, mkdirSync, unlinkSync } from 'node:fs';
import { createConnection, type AddressInfo } from 'node:net';
import { dirname } from 'node:path';
import { once } from 'node:events';
import { EnvironmentError, errnoOf, messageOf, UserError } from '#base/mod.ts';
import type { AdminAppOptions, buildAdminApp as BuildAdminApp } from './admin-app.ts';
import type { ApiApp } from './routes/context.ts';

/** sun_path of unix(7) has 108 bytes, the last one NUL. */
const SOCKET_PATH_BYTES_MAX = 107;

/** A connection attempt to a socket that is there tells within this whether somebody listens. */
const PROBE_MS = 1_000;

export type AdminServerOptions = Omit<AdminAppOptions, 'access'> & {
  /** Absolute path of the Unix socket; mode 0600. */
  readonly socketPath: string;
  readonly tcp?: {
    readonly address: string;
    /** 0: any free one; `url` tells. */
    readonly port: number;
    /** At least 16 characters; needed unless the address is loopback. */
    readonly token?: string;
    /** More names under which browsers reach it, without port. */
    readonly hosts?: readonly string[];
  };
};

/** A running admin API. */
export type AdminServer = {
  readonly socketPath: string;
  /** Of the TCP listener, if there is one. */
  readonly url?: string;
  /** Ends all streams and connections and removes the socket. Idempotent. */
  close(): Promise<void>;
};

/**
 * Starts the admin API on a Unix socket, and on TCP when asked for. All or nothing.
 *
 * Throws UserError `token-required` (an address others can reach, no token), EnvironmentError
 * `admin-socket-taken`, `admin-socket`, `admin-address`.
 */
export async function startAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const { socketPath, tcp, ...rest } = options;
  if (tcp !== undefined) checkToken(tcp);
  // Commands of the CLI come through this door too, and need no HTTP server: 150 ms saved.
  const { buildAdminApp } = await import('./admin-app.ts');
  const unix = await buildAdminApp({ ...rest, access: { kind: 'unix' } });
  const apps = [unix];
  try {
    await listenUnix(unix, socketPath);
    const url = tcp === undefined ? {} : { url: await listenTcp(buildAdminApp, apps, rest, tcp) };
    return { socketPath, ...url, close: () => closeAll(apps) };
  } catch (e) {
    await closeAll(apps);
    throw e;
  }
}

async function closeAll(apps: readonly ApiApp[]): Promise<void> {
  await Promise.all(apps.map((app) => app.close()));
}

async function listenUnix(app: ApiApp, path: string): Promise<void> {
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX)
    throw socketError(path, `its path is longer than ${SOCKET_PATH_BYTES_MAX} bytes`);
  await removeStale(path);
  try {
    await listen(app, () => {
      // Between bind and chmod anybody could connect: the mode is right from the first moment.
      const mask = process.umask(0o177);
      app.server.listen({ path });
      process.umask(mask);
    });
    chmodSync(path, 0o600);
  } catch (e) {
    throw socketError(path, messageOf(e), e);
  }
}

async function listenTcp(
  build: typeof BuildAdminApp,
  apps: ApiApp[],
  rest: Omit<AdminAppOptions, 'access'>,
  tcp: NonNullable<AdminServerOptions['tcp']>,
): Promise<string> {
  const { address, port, token, hosts = [] } = tcp;
  const names = [address, ...hosts, ...(isLoopback(address) ? LOOPBACK_NAMES : [])];
  const access = {
    kind: 'tcp' as const,
    hosts: names.map((name) => name.toLowerCase()),
    anyAddress: address === '0.0.0.0' || address === '::',
    ...(token === undefined ? {} : { token }),
  };
  const app = await build({ ...rest, access });
  apps.push(app);
  try {
    await listen(app, () => app.server.listen({ host: address, port }));
  } catch (e) {
    throw new EnvironmentError(
      'admin-address',
      {
        what: `the admin API cannot listen on ${address} port ${port}`,
        why: messageOf(e),
        todo: 'choose another address or port in the configuration (admin.listen)',
      },
      { cause: e },
    );
  }
  const bound = app.server.address() as AddressInfo;
  return `http://${address.includes(':') ? `[${address}]` : address}:${bound.port}`;
}

const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '::1'];

/** Binds happen inside the call of `bind`; what follows is only the news of it. */
async function listen(app: ApiApp, bind: () => void): Promise<void> {
  const listening = once(app.server, 'listening');
  bind();
  await listening;
}

function isLoopback(address: string): boolean {
  return address === '::1' || address === 'localhost' || /^127(\.\d{1,3}){3}$/.test(address);
}

function checkToken({ address, token }: NonNullable<AdminServerOptions['tcp']>): void {
  if (token !== undefined && token.length < 16) {
    throw new UserError('invalid', 'token-weak', {
      what: 'the token of the admin API is too short',
      todo: 'use at least 16 characters (openssl rand -hex 32)',
    });
  }
  if (token !== undefined || isLoopback(address)) return;
  throw new UserError('invalid', 'token-required', {
    what: `the admin API does not listen on ${address} without a token`,
    why: 'whoever reaches it can read and replace every disk',
    todo: 'set admin.tokenFile in the configuration, or listen on 127.0.0.1',
  });
}

/** Makes room for the socket. Throws EnvironmentError when somebody listens there. */
async function removeStale(path: string): Promise<void> {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    if (!lstatSync(path).isSocket()) throw socketError(path, 'it is there and is no socket');
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') return;
    throw e instanceof EnvironmentError ? e : socketError(path, messageOf(e), e);
  }
  if (await somebodyListens(path)) {
    throw new EnvironmentError('admin-socket-taken', {
      what: `another polyboot is running: it listens on ${path}`,
      todo: 'use that one (polyboot status), stop it first, or set another admin.socket',
    });
  }
  unlinkSync(path);
}

async function somebodyListens(path: string): Promise<boolean> {
  const socket = createConnection(path);
  socket.setTimeout(PROBE_MS, () => socket.destroy());
  return new Promise((resolve) => {
    socket.once('connect', () => {
      resolve(true);
      socket.destroy();
    });
    socket.once('error', (e) => {
      // EAGAIN: its queue of connections is full, so somebody is there.
      resolve(errnoOf(e) === 'EAGAIN');
    });
    socket.once('close', () => {
      resolve(true);
    });
  });
}

function socketError(path: string, why: string, cause?: unknown): EnvironmentError {
  return new EnvironmentError(
    'admin-socket',
    {
      what: `the admin socket ${path} cannot be made`,
      why,
      todo: 'run polyboot as root, or set admin.socket to a path in a folder of yours',
    },
    { cause },
  );
}
