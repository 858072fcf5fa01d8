import { silentLog } from '#base/mod.ts';
import { HttpServer, type BootSite, type HttpAnswer } from '#http/mod.ts';

/**
 * A boot listener as a process of its own, for tests in namespaces. One JSON argument; every
 * request and every finished or failed transfer is one line of standard output.
 */
export type IpxeSiteOptions = {
  readonly address: string;
  readonly port: number;
  /** Path → text of a script. A path may be answered differently each time: first to last. */
  readonly texts?: Readonly<Record<string, readonly string[]>>;
  /** Path → a file. */
  readonly files?: Readonly<Record<string, { readonly root: string; readonly path: string }>>;
};

const options = JSON.parse(process.argv[2] ?? '{}') as IpxeSiteOptions;
const asked = new Map<string, number>();
const say = (event: string, value: object): void => {
  process.stdout.write(`${event} ${JSON.stringify(value)}\n`);
};

const site: BootSite = {
  resolve({ method, path, query, headers, body }): HttpAnswer {
    say('request', {
      method,
      path,
      query: Object.fromEntries(query),
      range: headers.get('range'),
      agent: headers.get('user-agent'),
      body: body.toString('latin1'),
    });
    const texts = options.texts?.[path];
    if (texts !== undefined) {
      const turn = asked.get(path) ?? 0;
      asked.set(path, turn + 1);
      const text = texts[Math.min(turn, texts.length - 1)] ?? '';
      return { kind: 'text', status: 200, contentType: 'text/plain', body: text };
    }
    const file = options.files?.[path];
    if (file !== undefined) return { kind: 'file', ...file };
    if (path === '/boot/report') {
      return { kind: 'text', status: 200, contentType: 'text/plain', body: 'ok\n' };
    }
    return { kind: 'not-found' };
  },
};

const server = new HttpServer({
  listen: [{ address: options.address, port: options.port }],
  site,
  log: silentLog,
  observer: {
    started() {},
    finished(transfer, sentBytes) {
      say('finished', { path: transfer.path, status: transfer.status, sentBytes });
    },
    failed(transfer, sentBytes, _ms, why) {
      say('failed', { path: transfer.path, status: transfer.status, sentBytes, why });
    },
  },
});
await server.start();
say('ready', { addresses: server.addresses });
process.once('SIGTERM', () => {
  void server.stop();
});
