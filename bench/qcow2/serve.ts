/**
 * A bare iSCSI target on one thread for the qcow2 race:
 *
 *   node bench/qcow2/serve.ts raw|qcow2 FILE [BASE]
 *
 * Prints `iscsi://ADDRESS:PORT/IQN/0` when it is ready; SIGTERM ends it.
 */
import { openQcow2, openRaw } from '#block/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet } from '#scsi/mod.ts';

const IQN = 'iqn.2026-11.org.polyboot:qcow2';
const IDENTITY = {
  vendor: 'POLYBOOT',
  product: 'BENCH',
  revision: '1',
  serial: 'bench-0',
  naa: '3000000000000003',
};

const [format = 'raw', file = '', base] = process.argv.slice(2);
const backing = base === undefined ? null : await openRaw(base, { readOnly: true });
const device = format === 'raw' ? await openRaw(file) : await openQcow2(file, { backing });
const units = new LogicalUnitSet({ targetName: IQN });
units.add(0, new LogicalUnit({ device, identity: IDENTITY }));
const server = new TargetServer();
server.addExport({ iqn: IQN, access: 'any', takeover: false }, units);
const [portal] = await server.listen([{ address: '127.0.0.1', port: 0 }]);
process.stdout.write(`iscsi://127.0.0.1:${portal?.port}/${IQN}/0\n`);
process.once('SIGTERM', () => {
  void server.close().then(() => {
    device.close(() => {});
  });
});
