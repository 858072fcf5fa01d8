import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InternalError, UserError } from '#base/mod.ts';
import { MemoryImageRepository, type ImageRecord, type ImageRepository } from '#images/mod.ts';
import type { Layer, LibraryChange } from '#images/mod.ts';
import { MemoryMachineRepository, type Machine, type MachineRepository } from '#machines/mod.ts';
import { MemorySettings, openState, type SettingsStore } from './mod.ts';

/** One suite, every implementation: what holds for one repository holds for all. */
type Repositories = {
  machines: MachineRepository;
  images: ImageRepository;
  settings: SettingsStore;
};

const IMPLEMENTATIONS: Record<string, () => Repositories> = {
  memory: () => ({
    machines: new MemoryMachineRepository(),
    images: new MemoryImageRepository(),
    settings: new MemorySettings(),
  }),
  SQLite: () => openState(':memory:'),
};

let made = 0;
function machine(name: string, more: Partial<Machine> = {}): Machine {
  made += 1;
  return {
    id: `id-${made}`,
    name,
    macs: [`52:54:00:00:00:${made.toString(16).padStart(2, '0')}`],
    plan: { kind: 'san' },
    drives: [],
    registered: true,
    createdAtMs: 1_700_000_000_000,
    ...more,
  };
}

const exclusive = (image: string): Machine['drives'][number] => ({ image, mode: 'exclusive' });
const shared = (image: string): Machine['drives'][number] => ({ image, mode: 'shared' });
const conflict = (code: string) => (e: unknown) =>
  e instanceof UserError && e.kind === 'conflict' && e.code === code;
const unknown = (e: unknown): boolean => e instanceof UserError && e.kind === 'not-found';

const layer = (id: string, more: Partial<Layer> = {}): Layer => ({
  id,
  path: `/srv/${id}.img`,
  format: 'raw',
  sizeBytes: 528_482_304,
  blockBytes: 512,
  owned: true,
  createdAtMs: 1_700_000_000_000,
  ...more,
});
const record = (name: string, head: string, more: Partial<ImageRecord> = {}): ImageRecord => ({
  name,
  head,
  createdAtMs: 1_700_000_000_001,
  lastPoint: 0,
  ...more,
});
const frozen = { sizeBytes: 528_482_304, inode: 12, mtimeMs: 1_700_000_000_002 };

function suite(what: string, body: (make: () => Repositories) => void): void {
  for (const [name, make] of Object.entries(IMPLEMENTATIONS)) {
    test(`${name}: ${what}`, () => {
      body(make);
    });
  }
}

suite('a machine comes back as it was put in, with every field and with none', (make) => {
  const { machines } = make();
  const bare = machine('bare');
  const full = machine('full', {
    macs: ['52:54:00:aa:00:01', '52:54:00:aa:00:02'],
    uuid: '11111111-2222-3333-4444-555555555555',
    address: '10.0.0.5',
    plan: { kind: 'kernel', kernel: 'vmlinuz', initrd: ['a', 'b'], cmdline: 'quiet "ä"' },
    drives: [shared('tools'), exclusive('disk')],
    chap: { user: 'u', secret: 'secretsecret', mutualUser: 't', mutualSecret: 'secretsecreT' },
    loader: 'ipxe.efi',
    arch: 7,
    registered: false,
    nextBoot: { plan: { kind: 'iso', image: 'installer' }, drives: [] },
    thisBoot: { plan: { kind: 'script', text: '#!ipxe\necho hi\n' } },
    note: 'under the bench',
    seenAtMs: 1_700_000_000_001,
  });
  machines.insert(full);
  machines.insert(bare);
  assert.deepEqual(machines.get(full.id), full);
  assert.deepEqual(machines.get(bare.id), bare);
  assert.deepEqual(
    machines.list().map((m) => m.name),
    ['bare', 'full'],
  );
});

suite('update replaces the whole machine', (make) => {
  const { machines } = make();
  const before = machine('a', { address: '10.0.0.5', drives: [exclusive('x')], note: 'old' });
  machines.insert(before);
  const { address: _, note: __, ...rest } = before;
  const after = { ...rest, name: 'b', macs: ['52:54:00:bb:00:01'], drives: [shared('y')] };
  machines.update(after);
  assert.deepEqual(machines.get(before.id), after);
  assert.throws(() => {
    machines.update(machine('nobody'));
  }, unknown);
});

suite('what was removed is gone, and its MACs, address and images are free', (make) => {
  const { machines } = make();
  const old = machine('a', { address: '10.0.0.5', drives: [exclusive('x')] });
  machines.insert(old);
  machines.remove(old.id);
  assert.equal(machines.get(old.id), undefined);
  assert.throws(() => {
    machines.remove(old.id);
  }, unknown);
  machines.insert({ ...old, id: 'another' });
  assert.equal(machines.list().length, 1);
});

suite('two machines share no name, MAC or address', (make) => {
  const { machines } = make();
  const one = machine('a', { address: '10.0.0.5' });
  machines.insert(one);
  const tries: [Machine, string][] = [
    [machine('a'), 'machine-name-taken'],
    [machine('b', { macs: ['52:54:00:cc:00:09', ...one.macs] }), 'machine-mac-taken'],
    [machine('b', { address: '10.0.0.5' }), 'machine-address-taken'],
  ];
  for (const [second, code] of tries) {
    assert.throws(() => {
      machines.insert(second);
    }, conflict(code));
  }
  const two = machine('b');
  machines.insert(two);
  for (const [second, code] of tries) {
    assert.throws(() => {
      machines.update({ ...second, id: two.id });
    }, conflict(code));
  }
  assert.deepEqual(machines.list(), [one, two]);
});

suite('an exclusive image has one holder, a shared one has many', (make) => {
  const { machines } = make();
  machines.insert(machine('writer', { drives: [exclusive('disk')] }));
  machines.insert(machine('reader', { drives: [shared('golden')] }));
  machines.insert(machine('reader2', { drives: [shared('golden')] }));
  const iso = { kind: 'iso', image: 'disk' } as const;
  const rivals = [
    machine('r', { drives: [exclusive('disk')] }),
    machine('r', { drives: [shared('disk')] }),
    machine('r', { drives: [exclusive('golden')] }),
    machine('r', { plan: iso }),
    machine('r', { nextBoot: { plan: { kind: 'san' }, drives: [exclusive('disk')] } }),
    machine('r', { thisBoot: { plan: iso } }),
  ];
  for (const rival of rivals) {
    assert.throws(() => {
      machines.insert(rival);
    }, conflict('image-held'));
  }
  assert.equal(machines.list().length, 3);
});

suite('a machine is no rival of itself', (make) => {
  const { machines } = make();
  const own = machine('a', {
    drives: [exclusive('disk')],
    nextBoot: { plan: { kind: 'san' }, drives: [shared('disk'), exclusive('other')] },
  });
  machines.insert(own);
  machines.update({ ...own, note: 'again' });
  assert.equal(machines.get(own.id)?.note, 'again');
});

suite('a transaction is all or nothing, and an inner one alone can fail', (make) => {
  const { machines } = make();
  const [a, b, c] = [machine('a'), machine('b'), machine('c')];
  assert.throws(() => {
    machines.transaction(() => {
      machines.insert(a);
      machines.insert(machine('a'));
    });
  }, conflict('machine-name-taken'));
  assert.deepEqual(machines.list(), []);
  machines.transaction(() => {
    machines.insert(b);
    assert.throws(() => {
      machines.transaction(() => {
        machines.insert(c);
        throw new UserError('invalid', 'x', { what: 'x' });
      });
    }, UserError);
    machines.insert(a);
  });
  assert.deepEqual(machines.list(), [a, b]);
});

suite('a change to what was handed in or out does not reach the repository', (make) => {
  const { machines } = make();
  const mine = machine('a', { drives: [shared('x')] });
  machines.insert(mine);
  mine.drives.push(shared('y'));
  mine.macs[0] = '52:54:00:ff:ff:ff';
  machines.get(mine.id)?.drives.push(shared('z'));
  machines.list()[0]?.drives.push(shared('z'));
  assert.deepEqual(machines.get(mine.id)?.drives, [shared('x')]);
  assert.notDeepEqual(machines.get(mine.id)?.macs, mine.macs);
});

suite('images come and go by name, with the facts of their head', (make) => {
  const { images } = make();
  images.commit({ putLayers: [layer('one')], addImages: [record('dos', 'one')] });
  const more = { note: 'n', source: 's', lastPoint: 7 };
  images.commit({
    putLayers: [layer('two', { format: 'iso', owned: false, frozen, blockBytes: 2048 })],
    addImages: [record('a', 'two', more)],
  });
  assert.deepEqual(
    images.list().map(({ name }) => name),
    ['a', 'dos'],
  );
  assert.deepEqual(images.get('a'), {
    ...record('a', 'two', more),
    kind: 'iso',
    path: '/srv/two.img',
    sizeBytes: 528_482_304,
    blockBytes: 2048,
    owned: false,
    frozen: true,
  });
  assert.throws(() => {
    images.commit({ putLayers: [layer('three')], addImages: [record('dos', 'three')] });
  }, conflict('image-exists'));
  assert.equal(images.layer('three'), undefined, 'all or nothing');
  images.commit({ setImages: [record('dos', 'two')] });
  assert.equal(images.get('dos')?.kind, 'iso');
  for (const change of [{ removeImages: ['x'] }, { setImages: [record('x', 'two')] }]) {
    assert.throws(() => {
      images.commit(change);
    }, unknown);
  }
  images.commit({ removeImages: ['dos', 'a'], removeLayers: ['one', 'two'] });
  assert.deepEqual([images.list(), images.layers()], [[], []]);
});

suite('layers, points and overlays come back as they were put in', (make) => {
  const { images } = make();
  const base = layer('base', { frozen });
  const top = layer('top', { format: 'qcow2', parent: 'base', growTo: 600_000_000 });
  const point = { image: 'golden', number: 2, layer: 'base', comment: 'c', createdAtMs: 5 };
  const bare = { image: 'golden', number: 1, layer: 'base', createdAtMs: 4 };
  const overlay = { machine: 'id-1', machineName: 'p4', image: 'golden', layer: 'top' };
  const fresh = { ...overlay, hostBoot: 'b', next: 'keep', createdAtMs: 6 } as const;
  // In any order: what is referred to may come later in the same change.
  images.commit({
    putOverlays: [fresh],
    addPoints: [point, bare],
    addImages: [record('golden', 'base')],
    putLayers: [top, base],
  });
  assert.deepEqual(images.layers(), [base, top]);
  assert.deepEqual(images.layer('top'), top);
  assert.deepEqual(images.points(), [bare, point]);
  assert.deepEqual(images.overlays(), [fresh]);
  assert.deepEqual(images.overlay('id-1', 'golden'), fresh);
  assert.equal(images.overlay('id-1', 'x'), undefined);
  const kept = { ...overlay, createdAtMs: 7 };
  const { growTo: _, ...grown } = top;
  images.commit({ putOverlays: [kept], putLayers: [grown], removePoints: [bare] });
  assert.deepEqual(images.overlays(), [kept]);
  assert.deepEqual(images.layer('top'), grown);
  assert.deepEqual(images.points(), [point]);
  const replaced = { ...point, comment: 'another' };
  images.commit({ removePoints: [point], addPoints: [replaced] });
  assert.deepEqual(images.points(), [replaced]);
  images.commit({ removeOverlays: [kept], removeLayers: ['top'] });
  assert.deepEqual(images.overlays(), []);
});

suite('nothing refers to what is not there', (make) => {
  const { images } = make();
  const overlay = { machine: 'm', machineName: 'p4', image: 'a', layer: 'one', createdAtMs: 1 };
  const point = { image: 'a', number: 1, layer: 'one', createdAtMs: 1 };
  images.commit({ putLayers: [layer('one')], addImages: [record('a', 'one')] });
  const before = [images.list(), images.layers(), images.points(), images.overlays()];
  const broken: LibraryChange[] = [
    { removeLayers: ['one'] },
    { addImages: [record('b', 'none')] },
    { setImages: [record('a', 'none')] },
    { putLayers: [layer('two', { parent: 'none' })] },
    { addPoints: [{ ...point, layer: 'none' }] },
    { addPoints: [{ ...point, image: 'none' }] },
    { putOverlays: [{ ...overlay, layer: 'none' }] },
    { putOverlays: [{ ...overlay, image: 'none' }] },
    { addPoints: [point], removeImages: ['a'] },
  ];
  for (const change of broken) {
    assert.throws(() => {
      images.commit(change);
    }, InternalError);
    assert.deepEqual([images.list(), images.layers(), images.points(), images.overlays()], before);
  }
});

suite('settings are kept by key', (make) => {
  const { settings } = make();
  assert.equal(settings.get('instance'), undefined);
  settings.set('instance', 'one');
  settings.set('instance', 'two');
  settings.set('other', '');
  assert.equal(settings.get('instance'), 'two');
  assert.equal(settings.get('other'), '');
  settings.set('instance', undefined);
  assert.equal(settings.get('instance'), undefined);
});
