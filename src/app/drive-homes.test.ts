import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DriveExport } from '#boot/mod.ts';
import { DriveHomes } from './drive-homes.ts';

const drive = (name: string): DriveExport => ({
  config: { iqn: `iqn.x:${name}`, access: [`iqn.x:${name}.guest`], takeover: true },
  machine: name,
  image: name,
  source: { kind: 'raw', path: `/${name}` },
  readOnly: false,
  volatile: false,
  cdrom: false,
  serial: name,
});

const names = (homes: readonly (readonly DriveExport[])[]): string[] =>
  homes.map((drives) => drives.map((d) => d.machine).join(''));

test('drives spread over the threads, stay where they are, and fill the gaps', () => {
  const homes = new DriveHomes(3);
  const all = ['a', 'b', 'c', 'd', 'e', 'f'].map(drive);
  assert.deepEqual(names(homes.assign(all)), ['ad', 'be', 'cf']);
  const fewer = all.filter((d) => !'ad'.includes(d.machine));
  assert.deepEqual(names(homes.assign(fewer)), ['', 'be', 'cf']);
  assert.deepEqual(names(homes.assign([drive('x'), ...fewer, drive('y')])), ['xy', 'be', 'cf']);
  assert.equal(homes.of('iqn.x:e'), 1);
});

test('a thread knows of the drives of the others, with who may see them', () => {
  const homes = new DriveHomes(2);
  const all = [drive('a'), drive('b')];
  homes.assign(all);
  assert.deepEqual(homes.distantFrom(0, all), [
    { iqn: 'iqn.x:b', access: ['iqn.x:b.guest'], home: 1 },
  ]);
  assert.deepEqual(homes.distantFrom(1, all), [
    { iqn: 'iqn.x:a', access: ['iqn.x:a.guest'], home: 0 },
  ]);
});
