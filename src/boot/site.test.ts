import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '#base/mod.ts';
import type { BootRequest as HttpRequest, HttpAnswer } from '#http/mod.ts';
import { MemoryImageRepository } from '#images/mod.ts';
import { MachineService, MemoryMachineRepository, type NewMachine } from '#machines/mod.ts';
import { AddressBook } from './address-book.ts';
import { driveExports } from './exports.ts';
import { PolybootSite } from './site.ts';
import { MemoryEventLog, Timeline } from './timeline.ts';

const MAC = '52:54:00:00:00:04';
const ADDRESS = '10.77.0.100';
const SCRIPT = '/boot/52-54-00-00-00-04.ipxe';

/** A site over memory, with one image of each kind and a neighbour table of our making. */
class Bench {
  readonly clock = new FakeClock();
  readonly neighbours = new Map([[ADDRESS, MAC]]);
  readonly images = new MemoryImageRepository();
  readonly machines: MachineService;
  readonly timeline: Timeline;
  readonly site: PolybootSite;
  readonly prepared: string[] = [];
  problems: string[] = [];
  running = false;

  constructor() {
    const log = new MemoryEventLog();
    for (const [name, kind] of [
      ['dos', 'raw'],
      ['debian', 'raw'],
      ['golden', 'raw'],
      ['cd', 'iso'],
    ] as const) {
      const blockBytes = kind === 'iso' ? 2048 : 512;
      const path = `/images/${name}.img`;
      const facts = { sizeBytes: 2 ** 20, blockBytes, owned: true, createdAtMs: 0 };
      this.images.commit({
        putLayers: [{ id: `layer-${name}`, path, format: kind, ...facts }],
        addImages: [{ name, head: `layer-${name}`, createdAtMs: 0, lastPoint: 0 }],
      });
    }
    this.machines = new MachineService({
      repository: new MemoryMachineRepository(),
      images: { has: (name) => this.images.get(name) !== undefined },
      clock: this.clock,
    });
    this.timeline = new Timeline({
      clock: this.clock,
      log,
      machineOf: (mac) => this.machines.byMac(mac)?.name,
    });
    this.site = new PolybootSite({
      machines: this.machines,
      images: this.images,
      timeline: this.timeline,
      addresses: new AddressBook((a) => this.neighbours.get(a)),
      loaders: {
        locate: (file) => (file === 'snponly.efi' ? { root: '/l', path: file } : undefined),
      },
      filesRoot: '/srv/files',
      iscsiPort: 3260,
      prepareDrives: (machine, again) => {
        this.prepared.push(`${machine.name} ${again ? 'again' : 'same'}`);
        return Promise.resolve(this.problems);
      },
      isRunning: () => Promise.resolve(this.running),
    });
  }

  add(more: Partial<NewMachine> = {}): void {
    this.machines.add({
      name: 'p4',
      macs: [MAC],
      drives: [{ image: 'dos', mode: 'exclusive' }],
      ...more,
    });
  }

  async get(path: string, query = '', from = ADDRESS): Promise<HttpAnswer> {
    const request: HttpRequest = {
      method: 'GET',
      path,
      query: new URLSearchParams(query),
      headers: new Map(),
      body: Buffer.alloc(0),
      remoteAddress: from,
      localAddress: '::ffff:10.77.0.1',
      localPort: 8080,
    };
    return await this.site.resolve(request);
  }

  async text(path: string, query = '', from = ADDRESS): Promise<string> {
    const answer = await this.get(path, query, from);
    assert.equal(answer.kind, 'text');
    return answer.kind === 'text' ? String(answer.body) : '';
  }

  stages(): string[] {
    return this.timeline.after(0).map((e) => e.stage);
  }
}

test('a known machine gets its own drives at the address it asked', async () => {
  const bench = new Bench();
  bench.add();
  const script = await bench.text(SCRIPT);
  assert.match(script, /set initiator-iqn iqn\.2026-11\.org\.polyboot:p4\n/);
  assert.match(
    script,
    /sanhook --drive 0x80 iscsi:10\.77\.0\.1::\d*:0:iqn\.2026-11\.org\.polyboot:p4\.0/,
  );
  assert.deepEqual(bench.prepared, ['p4 again']);
});

test('a stranger introduces itself and gets a menu, no drive and no secret', async () => {
  const bench = new Bench();
  bench.add({ chap: { user: 'p4', secret: 'a-long-secret-of-p4' } });
  const script = await bench.text('/boot/52-54-00-00-00-99.ipxe', '', '10.77.0.101');
  assert.match(script, /not set up yet/);
  assert.doesNotMatch(script, /sanhook|secret|password:hex/);
  assert.equal(bench.machines.byMac('52:54:00:00:00:99')?.registered, false);
});

test('a script with a secret goes to the card of its machine and to nobody else', async () => {
  const bench = new Bench();
  bench.add({ chap: { user: 'p4', secret: 'a-long-secret-of-p4' } });
  bench.neighbours.set('10.77.0.66', '52:54:00:00:00:66');
  assert.equal((await bench.get(SCRIPT, '', '10.77.0.66')).kind, 'forbidden');
  assert.equal(
    (await bench.get(SCRIPT, '', '10.77.0.67')).kind,
    'forbidden',
    'unknown to the kernel',
  );
  assert.match(await bench.text(SCRIPT), /set password:hex /);
});

test('an override is taken once per boot, and a script fetched again is the same boot', async () => {
  const bench = new Bench();
  bench.add();
  bench.machines.boot('p4', { plan: { kind: 'local' } });
  bench.timeline.reach(MAC, 'ipxe');
  assert.doesNotMatch(await bench.text(SCRIPT), /sanhook/);
  assert.doesNotMatch(await bench.text(SCRIPT), /sanhook/, 'a retry gets the same');
  bench.timeline.reach(MAC, 'ipxe');
  assert.match(await bench.text(SCRIPT), /sanhook/, 'the next boot is as always');
  assert.deepEqual(bench.prepared, ['p4 again', 'p4 same', 'p4 again']);
});

test('a menu’s choice cannot choose what the menu did not offer', async () => {
  const bench = new Bench();
  bench.add({ plan: { kind: 'menu' } });
  assert.match(await bench.text(SCRIPT), /item .*san /);
  assert.match(await bench.text(SCRIPT, 'plan=san'), /sanboot/);
  assert.match(await bench.text(SCRIPT, 'plan=script'), /item /, 'shows the menu again');
});

test('a menu’s choice of the network disk boots it, and only when there is one', async () => {
  const bench = new Bench();
  bench.add({ plan: { kind: 'menu' } });
  assert.match(await bench.text(SCRIPT), /item san Network disk: dos/);
  const chosen = await bench.text(SCRIPT, 'plan=san');
  assert.match(chosen, /sanboot --no-describe --drive 0x80/);
  assert.match(chosen, /polyboot:p4\.0/);
  bench.machines.set('p4', { drives: [] });
  assert.match(await bench.text(SCRIPT, 'plan=san'), /^:menu$/m);
});

test('a disk that cannot be served stops the boot with the reason', async () => {
  const bench = new Bench();
  bench.add();
  bench.problems = ['dos is held by qemu-img'];
  await bench.text(SCRIPT);
  const last = bench.timeline.after(0).at(-1);
  assert.equal(last?.stage, 'stopped');
  assert.match(last?.problem?.why ?? '', /held by qemu-img/);
});

test('files, loaders and ISOs are served; a disk is not', async () => {
  const bench = new Bench();
  assert.deepEqual(await bench.get('/files/a/vmlinuz'), {
    kind: 'file',
    root: '/srv/files',
    path: 'a/vmlinuz',
  });
  assert.deepEqual(await bench.get('/loader/snponly.efi'), {
    kind: 'file',
    root: '/l',
    path: 'snponly.efi',
  });
  assert.equal((await bench.get('/loader/other.efi')).kind, 'not-found');
  assert.equal((await bench.get('/images/cd')).kind, 'file');
  assert.equal((await bench.get('/images/dos')).kind, 'not-found');
  assert.equal((await bench.get('/boot/zz.ipxe')).kind, 'not-found');
});

test('one entry script for all leads each machine to its own', async () => {
  const bench = new Bench();
  for (const path of ['/boot/entry.ipxe', '/autoexec.ipxe']) {
    const script = await bench.text(path);
    assert.match(script, /http:\/\/10\.77\.0\.1:8080/);
    assert.match(script, /chain /);
    assert.doesNotMatch(script, /sanhook/);
  }
});

test('a report is believed of the card behind the address, whatever it claims', async () => {
  const bench = new Bench();
  bench.add();
  await bench.get('/boot/report', 'stage=ready&mac=52:54:00:00:00:99&root=/dev/sda3');
  const [event] = bench.timeline.after(0);
  assert.equal(event?.mac, MAC);
  assert.equal(event?.stage, 'ready');
  assert.deepEqual(event?.facts, { root: '/dev/sda3' });
});

test('a failed step is told with iPXE’s own number and what to do', async () => {
  const bench = new Bench();
  bench.add();
  await bench.get('/boot/report', 'stage=failed&step=drive-0x80&error=0f0d6095');
  const last = bench.timeline.after(0).at(-1);
  assert.equal(last?.stage, 'stopped');
  assert.match(last?.problem?.why ?? '', /ipxe\.org\/0f0d6095/);
  assert.ok((last?.problem?.todo ?? '') !== '');
  await bench.get('/boot/report', 'stage=failed&step=\u001b[2J&error=zz');
  assert.doesNotMatch(JSON.stringify(bench.timeline.after(0)), /\\u001b|\u001b/);
});

test('what is exported: one target per machine and drive, for its machine alone', () => {
  const bench = new Bench();
  bench.add({
    drives: [
      { image: 'dos', mode: 'exclusive' },
      { image: 'cd', mode: 'shared' },
      { image: 'debian', mode: 'overlay-kept' },
      { image: 'golden', mode: 'overlay-fresh' },
    ],
  });
  const volatile = { readOnly: false, cdrom: false, volatile: true, layer: 'l' };
  const [disk, cd, ...more] = driveExports(bench.machines, {
    diskOf: (_machine, { image, mode }) => {
      if (mode === 'overlay-kept') return undefined;
      const source = { kind: 'raw', path: `/images/${image}`, blockBytes: 2048 } as const;
      if (mode === 'overlay-fresh') return { ...volatile, source };
      const cdrom = image === 'cd';
      return { source, readOnly: cdrom, cdrom, volatile: false, layer: image };
    },
  });
  assert.equal(disk?.config.iqn, 'iqn.2026-11.org.polyboot:p4.0');
  assert.deepEqual(disk?.config.access, ['iqn.2026-11.org.polyboot:p4']);
  assert.equal(disk?.config.takeover, true);
  assert.equal(disk?.readOnly, false);
  assert.deepEqual([cd?.cdrom, cd?.readOnly, cd?.volatile], [true, true, false]);
  assert.deepEqual(cd?.source, { kind: 'raw', path: '/images/cd', blockBytes: 2048 });
  // An overlay that is not made yet is not served; a fresh one need not outlive the power.
  assert.deepEqual(
    more.map((drive) => [drive.config.iqn, drive.volatile]),
    [['iqn.2026-11.org.polyboot:p4.3', true]],
  );
});

test('a script that nobody booted for does not start a machine that runs again', async () => {
  const bench = new Bench();
  bench.add();
  bench.running = true;
  await bench.text(SCRIPT);
  assert.deepEqual(bench.prepared, ['p4 same']);
  bench.timeline.reach(MAC, 'power-on');
  await bench.text(SCRIPT);
  assert.deepEqual(bench.prepared, ['p4 same', 'p4 again']);
});
