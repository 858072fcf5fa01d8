/**
 * The target under pressure: cold data, many sessions, boot storms, floods.
 *
 *   node bench/target.ts [--only NAME]… [--rounds 3] [--seconds 2] [--folder /dev/shm]
 *                        [--disk-folder /var/tmp]
 *
 * Each row runs alone and prints what it found; `--only list` names the rows. Ratios are of the
 * same load taken in turn: alone and under pressure, or ours and tgt's.
 */
import { parseArgs } from 'node:util';
import { bootStorm } from './target/boot-storm.ts';
import { coldDropped, coldSlow, coldThreads } from './target/cold.ts';
import { flood } from './target/floods.ts';
import type { Bench } from './target/parts.ts';
import { cpu, idle, sessions } from './target/scale.ts';

const ROWS: Readonly<Record<string, (bench: Bench) => Promise<void>>> = {
  'cold-slow': coldSlow,
  'cold-dropped': coldDropped,
  'cold-threads': coldThreads,
  sessions,
  'boot-storm': bootStorm,
  cpu,
  idle,
  'flood-half-open': flood('flood-half-open'),
  'flood-deaf': flood('flood-deaf'),
  'flood-storm': flood('flood-storm'),
};

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: [] },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '2' },
    folder: { type: 'string', default: '/dev/shm' },
    'disk-folder': { type: 'string', default: '/var/tmp' },
  },
});

async function runRow(name: string): Promise<void> {
  const row = ROWS[name];
  if (row === undefined) throw new Error(`no row ${name}: ${Object.keys(ROWS).join(', ')}`);
  const bench: Bench = {
    rounds: Number(values.rounds),
    seconds: Number(values.seconds),
    folder: values.folder,
    diskFolder: values['disk-folder'],
    after: [],
    say: (line) => {
      process.stdout.write(`${name.padEnd(16)} ${line}\n`);
    },
  };
  try {
    await row(bench);
  } finally {
    for (const end of bench.after.toReversed()) await end();
  }
}

if (values.only.includes('list')) process.stdout.write(`${Object.keys(ROWS).join('\n')}\n`);
else
  for (const name of values.only.length > 0 ? values.only : Object.keys(ROWS)) await runRow(name);
