import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeServices, OWN_ADDRESS } from '../fake-services.ts';
import { labSchema, type ApplyResult } from '../schema/lab.ts';
import { applyLab, dumpLab } from './apply.ts';
import { LabError } from './lab-error.ts';

const A = '52:54:00:00:00:01';
const B = '52:54:00:00:00:02';

async function apply(
  services: FakeServices,
  lab: unknown,
  dryRun = false,
): Promise<ApplyResult['changes']> {
  return (await applyLab(labSchema.parse(lab), dryRun, services)).changes;
}

const brief = (changes: ApplyResult['changes']): string[] =>
  changes.map(({ subject, name, action }) => `${action} ${subject} ${name}`);

async function problemsOf(services: FakeServices, lab: unknown): Promise<string[]> {
  try {
    await apply(services, lab);
  } catch (e) {
    assert.ok(e instanceof LabError, String(e));
    return e.problems.map(({ path, message }) => `${path.join('.')}: ${message}`);
  }
  return assert.fail('it was applied');
}

const LAB = {
  images: {
    dos: { path: '/srv/dos.img' },
    golden: { path: '/srv/golden.img', note: 'do not touch' },
  },
  machines: {
    p4: { macs: [A], address: '10.0.0.5', drives: ['dos', 'golden:shared'] },
    p5: {
      macs: [B],
      plan: { kind: 'kernel', kernel: 'vmlinuz', initrd: ['initrd'], cmdline: 'quiet' },
      drives: [{ image: 'golden', mode: 'shared' }],
      chap: { user: 'p5', secret: 'secret-of-p5' },
      loader: 'ipxe.efi',
      note: 'left',
    },
  },
};

test('a lab file becomes the state, and applying it again changes nothing', async () => {
  const services = new FakeServices();
  const wanted = ['add image dos', 'add image golden', 'add machine p4', 'add machine p5'];
  assert.deepEqual(brief(await apply(services, LAB, true)), wanted);
  assert.deepEqual(services.machines.list(), [], 'a dry run changes nothing');
  assert.deepEqual(services.images.list(), []);
  assert.deepEqual(brief(await apply(services, LAB)), wanted);
  assert.equal(services.machines.show('p4').drives[0]?.mode, 'exclusive');
  assert.equal(services.images.get('golden').note, 'do not touch');
  assert.deepEqual(await apply(services, LAB), []);
});

test('a dump can be applied: here it changes nothing, elsewhere it makes the same state', async () => {
  const services = new FakeServices();
  await apply(services, LAB);
  services.machines.discover({ mac: '52:54:00:00:00:99' });
  await services.images.create('own', { preset: 'dos', sizeBytes: 1 });
  for (const secrets of [false, true]) {
    const dump: unknown = JSON.parse(JSON.stringify(dumpLab(services, secrets)));
    assert.deepEqual(await apply(services, dump), [], `secrets ${String(secrets)}`);
  }
  const shown = JSON.stringify(dumpLab(services, false));
  assert.doesNotMatch(shown, /secret-of-p5|new-000099|"own"/);
  const copy = new FakeServices();
  await apply(copy, dumpLab(services, true));
  assert.deepEqual(dumpLab(copy, true), dumpLab(services, true));
  const bare = await problemsOf(new FakeServices(), dumpLab(services, false));
  assert.deepEqual(bare, ['machines.p5.chap.secret: is missing (string)']);
});

test('a boot that begins while an image is added keeps what it took', async () => {
  const services = new FakeServices();
  await apply(services, { machines: { p4: { macs: [A], plan: 'local' } } });
  services.machines.boot('p4', { plan: { kind: 'menu' } });
  const { id } = services.machines.show('p4');
  const add = services.images.add.bind(services.images);
  services.images.add = async (path, options) => {
    const image = await add(path, options);
    services.machines.beginBoot(id);
    services.machines.discover({ mac: B });
    return image;
  };
  await apply(services, {
    images: { dos: LAB.images.dos },
    machines: { p4: { macs: [A, B], plan: 'local' } },
  });
  const p4 = services.machines.show('p4');
  assert.deepEqual(p4.macs, [A, B]);
  assert.deepEqual(p4.thisBoot, { plan: { kind: 'menu' } });
  assert.equal(p4.nextBoot, undefined, 'a one-time boot is taken once');
  assert.equal(services.machines.list().length, 1, 'who introduced itself became it');
});

test('what a section does not name goes; what the server made, and what is unknown, stays', async () => {
  const services = new FakeServices();
  await apply(services, LAB);
  await services.images.create('own', { preset: 'dos', sizeBytes: 1 });
  services.machines.discover({ mac: '52:54:00:00:00:99' });
  const changes = await apply(services, {
    machines: { p5: LAB.machines.p5 },
    images: { golden: LAB.images.golden },
  });
  assert.deepEqual(brief(changes), ['remove image dos', 'remove machine p4']);
  assert.deepEqual(
    services.images.list().map((i) => i.name),
    ['golden', 'own'],
  );
  assert.deepEqual(
    services.machines.list().map((m) => m.name),
    ['new-000099', 'p5'],
  );
});

test('a section that is missing leaves its subject alone', async () => {
  const services = new FakeServices();
  await apply(services, LAB);
  assert.deepEqual(await apply(services, {}), []);
  assert.deepEqual(brief(await apply(services, { machines: {} })), [
    'remove machine p4',
    'remove machine p5',
  ]);
  assert.equal(services.images.list().length, 2);
});

test('what a machine no longer says has its default again', async () => {
  const services = new FakeServices();
  await apply(services, LAB);
  const [change] = await apply(services, { machines: { p4: { macs: [A] }, p5: LAB.machines.p5 } });
  assert.deepEqual(change?.details, [
    'address: 10.0.0.5 → none',
    'drives: dos, golden:shared → none',
  ]);
  assert.equal(services.machines.show('p4').address, undefined);
});

test('a machine that introduced itself becomes the one of the file, history and all', async () => {
  const services = new FakeServices();
  const met = services.machines.discover({ mac: A, arch: 7 });
  const [change] = await apply(services, { machines: { p4: { macs: [A, B] } } });
  assert.equal(change?.action, 'change');
  assert.match(change?.details[0] ?? '', /introduced itself as new-000001/);
  assert.equal(services.machines.show('p4').id, met?.id);
  assert.equal(services.machines.show('p4').arch, 7);
});

test('a machine renamed in the file keeps its identity', async () => {
  const services = new FakeServices();
  await apply(services, LAB);
  const { id } = services.machines.show('p4');
  const { p4, p5 } = LAB.machines;
  const changes = await apply(services, { machines: { pentium: p4, p5 } });
  assert.deepEqual(changes[0]?.details, ['name: p4 → pentium']);
  assert.equal(services.machines.show('pentium').id, id);
});

test('a fixed address that no machine can have is a problem of its line', async () => {
  const drives = ['nowhere'];
  const machines = { p4: { macs: [A], address: OWN_ADDRESS }, p5: { macs: [B], drives } };
  const problems = await problemsOf(new FakeServices(), { machines });
  assert.equal(problems[0], `machines.p4.address: ${OWN_ADDRESS} is ours`);
  assert.match(problems[1] ?? '', /^machines\.p5/, 'and the others are told too');
});

test('machines swap addresses, images, MACs and names in one file', async () => {
  const services = new FakeServices();
  const one = { macs: [A], address: '10.0.0.1', drives: ['x'] };
  const two = { macs: [B], address: '10.0.0.2', drives: ['y'] };
  const images = { x: { path: '/srv/x' }, y: { path: '/srv/y' } };
  await apply(services, { images, machines: { a: one, b: two } });
  await apply(services, { images, machines: { a: two, b: one } });
  assert.deepEqual(services.machines.show('a').macs, [B]);
  assert.deepEqual(
    services.machines.holdersOf('x').map((h) => h.machine),
    ['b'],
  );
});

test('secrets left out are kept, a new one is said to have changed and not shown', async () => {
  const services = new FakeServices();
  await apply(services, LAB);
  const { p4, p5 } = LAB.machines;
  const renamed = { machines: { p4, p5: { ...p5, chap: { user: 'other' } } } };
  assert.deepEqual((await apply(services, renamed))[0]?.details, ['chap: p5 → other']);
  assert.equal(services.machines.show('p5').chap?.secret, 'secret-of-p5');
  const changed = {
    machines: { p4, p5: { ...p5, chap: { user: 'other', secret: 'another-secret' } } },
  };
  assert.deepEqual((await apply(services, changed))[0]?.details, ['CHAP secret: changed']);
});

test('every problem of a file is told at once, and nothing of it is done', async () => {
  const services = new FakeServices();
  await apply(services, { images: { here: { path: '/srv/here.img' } } });
  const problems = await problemsOf(services, {
    images: { here: { path: '/srv/elsewhere.img' }, new: { path: '/srv/new.img' } },
    machines: {
      a: { macs: [A], address: '10.0.0.5', drives: ['new', 'nowhere'] },
      b: { macs: [A], drives: ['here'] },
      c: { macs: [B], address: '10.0.0.5', chap: { user: 'c', secret: 'short' } },
      d: { macs: ['52:54:00:00:00:04'], drives: ['new:shared'] },
    },
  });
  assert.deepEqual(
    problems.map((p) => p.split(':')[0]),
    ['images.here.path', 'machines.a.drives', 'machines.c.chap.secret', 'machines.b', 'machines.d'],
  );
  assert.match(problems.join('\n'), /no image named "nowhere"/);
  assert.match(problems.join('\n'), /MAC address .* belongs to machine "a"/);
  assert.match(problems.join('\n'), /"new" is held by machine "a" as drive 0/);
  assert.deepEqual(services.machines.list(), []);
  assert.deepEqual(
    services.images.list().map((i) => i.name),
    ['here'],
  );
});

test('an image in use cannot be left out', async () => {
  const services = new FakeServices();
  await apply(services, LAB);
  assert.deepEqual(await problemsOf(services, { images: { golden: LAB.images.golden } }), [
    'images: machine "p4" uses image "dos", which is left out',
  ]);
});

test('an image that cannot be added undoes the ones before it', async () => {
  const services = new FakeServices();
  const images = { first: { path: '/srv/first.img' }, second: { path: '/srv/missing.img' } };
  const machines = { a: { macs: [A], drives: ['first'] } };
  await assert.rejects(apply(services, { images, machines }), /no file/);
  assert.deepEqual(services.images.list(), []);
  assert.deepEqual(services.machines.list(), []);
});

test('a golden image is frozen when it is added, and machines get overlays of it', async () => {
  const services = new FakeServices();
  const golden = { path: '/srv/golden.img', golden: true };
  const machines = {
    a: { macs: [A], drives: ['golden:overlay-fresh'] },
    b: { macs: [B], drives: ['golden:overlay-kept'] },
  };
  const bare = await problemsOf(services, {
    images: { golden: { path: golden.path } },
    machines,
  });
  assert.deepEqual(bare.length, 2);
  assert.match(bare[0] ?? '', /must be "golden: true" for overlays/);
  await apply(services, { images: { golden }, machines });
  assert.equal(services.images.get('golden').frozen, true);
  assert.deepEqual(await apply(services, { images: { golden }, machines }), []);
  const dump: unknown = JSON.parse(JSON.stringify(dumpLab(services, true)));
  assert.deepEqual(await apply(services, dump), []);
  assert.match(JSON.stringify(dump), /golden:overlay-fresh.*"golden":true/s);
  const writer = { machines: { ...machines, b: { macs: [B], drives: ['golden'] } } };
  assert.match((await problemsOf(services, writer)).join(), /does not admit/);
  const both = { images: { golden }, ...writer };
  assert.match((await problemsOf(services, both)).join(), /nobody writes it/);
  const thawed = { images: { golden: { path: golden.path } } };
  assert.match((await problemsOf(services, thawed)).join(), /is a golden image and stays one/);
});

test('an image in place becomes golden when the file says so', async () => {
  const services = new FakeServices();
  await apply(services, { images: { base: { path: '/srv/base.img' } } });
  const golden = { images: { base: { path: '/srv/base.img', golden: true } } };
  assert.deepEqual(brief(await apply(services, golden)), ['change image base']);
  assert.equal(services.images.get('base').frozen, true);
});
