import { once } from 'node:events';
import { startAdminServer, type AdminServer } from '#api/mod.ts';
import { createLog, messageOf, systemClock } from '#base/mod.ts';
import { adminListen } from './admin-listen.ts';
import { adminServices } from './admin-services.ts';
import type { Config } from './config.ts';
import { loadConfig } from './load-config.ts';
import { findingLines, paint, type Terminal } from './output.ts';
import { pathsOf } from './paths.ts';
import { BootServer } from './server.ts';
import { programVersion } from './version.ts';

type Options = {
  readonly config?: string | undefined;
  readonly terminal: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
};

/**
 * `polyboot up`: serves until SIGTERM or SIGINT, then ends cleanly. Resolves to the exit code;
 * rejects when it could not start, and then nothing was left running.
 */
export async function up(options: Options): Promise<number> {
  const { terminal, env } = options;
  const loaded = loadConfig(options.config);
  const paths = pathsOf(loaded.config, env, process.getuid?.() === 0);
  const log = createLog(loaded.config.log);
  const ending = new AbortController();
  const fatal: { error?: Error } = {};
  const server = await BootServer.start({
    config: loaded.config,
    paths,
    clock: systemClock,
    log,
    onFatal: (error) => {
      fatal.error = error;
      ending.abort();
    },
  });
  let admin: AdminServer | undefined;
  try {
    admin = await startAdmin(server, loaded.config, paths.socket);
    // Listening before the word "ready" is out: who reads it may send the signal at once.
    const end = ended(ending.signal);
    terminal.out(banner(server, admin, loaded.file, terminal));
    await end;
  } finally {
    await admin?.close();
    await server.stop();
  }
  if (fatal.error === undefined) return 0;
  terminal.error(`polyboot: stopped, because ${messageOf(fatal.error)}\n`);
  return 1;
}

/** Resolves at the first SIGTERM or SIGINT, or when `signal` aborts. */
async function ended(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const done = new AbortController();
  // The sockets keep the process alive until then.
  await Promise.race([
    once(process, 'SIGTERM', { signal: done.signal }),
    once(process, 'SIGINT', { signal: done.signal }),
    once(signal, 'abort', { signal: done.signal }),
  ]);
  done.abort();
}

async function startAdmin(
  server: BootServer,
  config: Config,
  socketPath: string,
): Promise<AdminServer> {
  const { listen, tokenFile } = config.admin;
  const version = programVersion();
  return await startAdminServer({
    services: adminServices(server, version),
    version,
    clock: systemClock,
    log: server.options.log,
    socketPath,
    ...(listen === undefined ? {} : { tcp: adminListen(listen, tokenFile) }),
  });
}

/** What it serves and where; its last line begins with "ready", for people and for scripts. */
function banner(
  server: BootServer,
  admin: AdminServer,
  file: string | undefined,
  terminal: Terminal,
): string {
  const { config } = server.options;
  const notes = server.findings.filter((f) => f.level === 'warn');
  const lines = [
    paint(terminal, 'bold', `Polyboot ${programVersion()}`) +
      ` (${file ?? 'no configuration file: a proxy on every interface'})`,
    ...server.networks.map((n) => {
      const role = {
        server: `DHCP server (${n.config.pool?.first ?? ''}-${n.config.pool?.last ?? ''})`,
        proxy: 'proxyDHCP: hands out no addresses',
        off: 'no DHCP',
      }[n.config.dhcp];
      return `  ${n.config.interface.padEnd(10)} ${n.address}  ${role}`;
    }),
    `  TFTP ${config.tftp.port}, HTTP ${config.http.port}, iSCSI ${config.iscsi.port}; commands by ${admin.socketPath}`,
    ...(admin.url === undefined ? [] : [`  admin API at ${admin.url}`]),
    ...findingLines(terminal, notes),
    'ready: switch a machine on, and see it with `polyboot watch`. Ctrl-C ends.',
  ];
  return `${lines.join('\n')}\n`;
}
