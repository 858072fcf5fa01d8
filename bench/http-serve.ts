import { systemClock } from '#base/mod.ts';
import { HttpServer } from '#http/mod.ts';

/** Our boot listener on a folder, for bench/http.ts. Arguments: folder, port. Ends on SIGTERM. */
const [root = '', port = '0'] = process.argv.slice(2);
const server = new HttpServer({
  listen: [{ address: '127.0.0.1', port: Number(port) }],
  site: { resolve: ({ path }) => ({ kind: 'file', root, path }) },
  clock: systemClock,
});
await server.start();
process.stdout.write('ready\n');
process.once('SIGTERM', () => {
  void server.stop();
});
