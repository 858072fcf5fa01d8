/**
 * A target in a process of its own, for what `polyboot export` does not offer: several portals,
 * several logical units, mutual CHAP, and every event told.
 *
 *   node test/initiators/target-process.ts CONFIG
 *
 * CONFIG is a `LabTargetConfig` as JSON. Prints `ready PORTALS`, then one line of JSON per event.
 * SIGTERM ends it.
 */
import { openRaw, type RawDevice } from '#block/mod.ts';
import { TargetServer } from '#iscsi/mod.ts';
import { LogicalUnit, LogicalUnitSet, openUnitState } from '#scsi/mod.ts';
import type { Nexus, OpenUnitState } from '#scsi/mod.ts';
import type { LabTargetConfig, LabUnit } from './target-config.ts';

type Served = {
  readonly device: RawDevice;
  readonly unit: LogicalUnit;
  readonly state: OpenUnitState | null;
};

async function serve(wanted: LabUnit, abortTasks: (nexus: Nexus) => boolean): Promise<Served> {
  const { file, serial, stateFolder } = wanted;
  const device = await openRaw(file);
  // A locally assigned NAA (3) that belongs to the serial number.
  const naa = `3${Buffer.from(serial).toString('hex').padEnd(15, '0').slice(-15)}`;
  const identity = { vendor: 'POLYBOOT', product: 'LAB', revision: '1', serial, naa };
  const state = stateFolder === undefined ? null : await openUnitState(stateFolder, serial, device);
  const unit = new LogicalUnit({ device, identity, abortTasks, ...state?.options });
  return { device, unit, state };
}

const config = JSON.parse(process.argv[2] ?? '') as LabTargetConfig;
const say = (line: string): void => {
  process.stdout.write(`${line}\n`);
};
const server = new TargetServer({
  observer: {
    event: (event) => {
      say(JSON.stringify(event));
    },
  },
});
const served: Served[] = [];
for (const { units: wanted, ...target } of config.targets) {
  const units = new LogicalUnitSet({ targetName: target.iqn });
  for (const each of wanted) {
    const { lun } = each;
    const one = await serve(each, (nexus) => server.abortTasksOf(nexus, lun));
    units.add(lun, one.unit);
    served.push(one);
  }
  server.addExport(target, units);
}
const portals = await server.listen(config.portals);
say(`ready ${JSON.stringify(portals)}`);

process.once('SIGTERM', () => {
  void server.close().then(async () => {
    for (const { device, state } of served) {
      await state?.close();
      device.close(() => {});
    }
  });
});
