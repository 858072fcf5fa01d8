/**
 * The process that `scsi-unit-state.test.ts` kills: an initiator and a unit that keeps its state,
 * which says every change when it is GOOD: `KEY TYPE WCE`.
 */
import { MemoryDevice } from '#block/mod.ts';
import { LogicalUnit, LogicalUnitSet, openUnitState } from '#scsi/mod.ts';
import { IDENTITY } from './scsi-bench.ts';
import { Initiator, hex } from './scsi-initiator.ts';

const [folder = ''] = process.argv.slice(2);
const device = new MemoryDevice({ sizeBytes: 1024 * 1024 });
const open = await openUnitState(folder, 'disk-1', device);
const set = new LogicalUnitSet();
set.add(0, new LogicalUnit({ device, identity: IDENTITY, ...open.options }));
const one = new Initiator(set);

async function must(cdb: string, out: Buffer): Promise<void> {
  const ended = await one.run(hex(cdb), { out });
  if (ended.status !== 0) throw new Error(`${cdb}: ${ended.status} ${ended.sense}`);
}

function keyOf(n: number): string {
  return n.toString(16).padStart(16, '0');
}

const noKey = keyOf(0);
const aptpl = '0000000001000000';
let wce = 4;
for (let n = 1; ; n++) {
  // REGISTER AND IGNORE EXISTING KEY with APTPL, then RESERVE on the first round.
  await must('5f 06 00 00 00 00 00 00 18 00', hex(`${noKey}${keyOf(n)}${aptpl}`));
  if (n === 1) await must('5f 01 03 00 00 00 00 00 18 00', hex(`${keyOf(n)}${noKey}${noKey}`));
  process.stdout.write(`${n} 3 ${wce}\n`);
  if (n % 3 !== 0) continue;
  wce = 4 - wce;
  await must(
    '15 11 00 00 18 00',
    Buffer.concat([hex('00000000 0812'), Buffer.of(wce), Buffer.alloc(17)]),
  );
  process.stdout.write(`${n} 3 ${wce}\n`);
}
