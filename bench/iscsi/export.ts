/**
 * A bare export of one file, for benchmarks and interop tests: no state, one LUN, one thread.
 *
 *   node bench/iscsi/export.ts FILE [PORT] [IQN] [--chap USER:SECRET] [--mutual USER:SECRET]
 *
 * Prints `iscsi://ADDRESS:PORT/IQN/0` when it is ready; SIGTERM ends it.
 */
import { parseArgs } from 'node:util';
import { openRaw } from '#block/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    chap: { type: 'string' },
    mutual: { type: 'string' },
    events: { type: 'boolean', default: false },
  },
});
const [file = '', port = '0', iqn = 'iqn.2026-11.org.polyboot:bench'] = positionals;

function pair(text: string | undefined): [string, string] | undefined {
  if (text === undefined) return undefined;
  const [user = '', secret = ''] = text.split(':');
  return [user, secret];
}

const device = await openRaw(file);
const unit = new LogicalUnit({
  device,
  identity: {
    vendor: 'POLYBOOT',
    product: 'BENCH',
    revision: '0',
    serial: 'bench',
    naa: '3000000000000001',
  },
});
const units = new LogicalUnitSet({ targetName: iqn });
units.add(0, unit);
const server = new TargetServer({
  observer: {
    event(event) {
      if (values.events) process.stderr.write(`${JSON.stringify(event)}\n`);
    },
  },
});
const chap = pair(values.chap);
const mutual = pair(values.mutual);
server.addExport(
  {
    iqn,
    access: 'any',
    takeover: false,
    ...(chap === undefined
      ? {}
      : {
          chap: {
            user: chap[0],
            secret: chap[1],
            ...(mutual === undefined ? {} : { mutualUser: mutual[0], mutualSecret: mutual[1] }),
          },
        }),
  },
  units,
);
const [portal] = await server.listen([{ address: '127.0.0.1', port: Number(port) }]);
process.stdout.write(`iscsi://${portal?.address}:${portal?.port}/${iqn}/0\n`);
process.once('SIGTERM', () => {
  void server.close().then(() => {
    device.close(() => {});
  });
});
