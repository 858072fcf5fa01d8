/**
 * A bare export of one file in a process of its own, for tests that kill it and for benchmarks: no
 * state, LUN 0 is the disk, one thread.
 *
 *   node test/interop/iscsi-export.ts FILE [PORT]
 *
 * Prints `iscsi://ADDRESS:PORT/IQN/0` when it is ready; SIGTERM ends it.
 */
import { openRaw } from '#block/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';

const IQN = 'iqn.2026-11.org.polyboot:bare';
const IDENTITY = {
  vendor: 'POLYBOOT',
  product: 'BARE',
  revision: '1',
  serial: 'bare-0',
  naa: '3000000000000002',
};

const [file = '', port = '0'] = process.argv.slice(2);
const device = await openRaw(file);
const units = new LogicalUnitSet({ targetName: IQN });
units.add(0, new LogicalUnit({ device, identity: IDENTITY }));
const server = new TargetServer();
server.addExport({ iqn: IQN, access: 'any', takeover: false }, units);
const [portal] = await server.listen([{ address: '127.0.0.1', port: Number(port) }]);
process.stdout.write(`iscsi://127.0.0.1:${portal?.port}/${IQN}/0\n`);
process.once('SIGTERM', () => {
  void server.close().then(() => {
    device.close(() => {});
  });
});
