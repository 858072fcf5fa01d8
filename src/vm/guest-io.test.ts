import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test, type TestContext } from 'node:test';
import { DecodeError, EnvironmentError, UserError } from '#base/mod.ts';
import { chooseAccel, printingSector, type AccelHost } from './accel.ts';
import { cp437 } from './cp437.ts';
import { findUefiFirmware } from './firmware.ts';
import { findProgram, makeRunFolder } from './host.ts';
import { keysOf } from './keyboard.ts';
import { decodeTextScreen } from './screen.ts';
import { startFailure } from './start-failure.ts';

suite('keyboard', () => {
  test('letters, shifted signs, named keys and chords', () => {
    assert.deepEqual(keysOf('aB:1\n'), [
      ['a'],
      ['shift', 'b'],
      ['shift', 'semicolon'],
      ['1'],
      ['ret'],
    ]);
    assert.deepEqual(keysOf('<ctrl+alt+delete>x<f12>'), [
      ['ctrl', 'alt', 'delete'],
      ['x'],
      ['f12'],
    ]);
    assert.deepEqual(keysOf('a<b'), [['a'], ['shift', 'comma'], ['b']]);
  });

  test('every printable ASCII character has a key', () => {
    for (let c = 0x20; c < 0x7f; c++) assert.equal(keysOf(String.fromCharCode(c)).length, 1);
  });

  test('what a US keyboard has not is refused', () => {
    for (const text of ['ä', '€', '😀', '\x01']) assert.throws(() => keysOf(text), UserError);
  });
});

suite('text screen', () => {
  test('characters are read, attributes are not', () => {
    const memory = new Uint8Array(4000);
    Buffer.from('Bo\xC9\xCD').forEach((_, n) => (memory[n * 2 + 1] = 0x1f));
    [0x42, 0x6f, 0xc9, 0xcd, 0xff].forEach((byte, n) => (memory[n * 2] = byte));
    memory[(24 * 80 + 79) * 2] = 0xfe;
    const lines = decodeTextScreen(memory);
    assert.equal(lines.length, 25);
    assert.equal(lines[0], 'Bo╔═');
    assert.equal(lines[1], '');
    assert.equal(lines[24], `${' '.repeat(79)}■`);
  });

  test('every cut is refused', () => {
    for (let n = 0; n < 4000; n += 1) {
      assert.throws(() => decodeTextScreen(new Uint8Array(n)), DecodeError);
    }
  });

  test('code page 437 has 256 characters, ASCII in its place', () => {
    for (let byte = 0x21; byte < 0x7f; byte++) {
      assert.equal(cp437(byte), String.fromCharCode(byte));
    }
    const all = Array.from({ length: 256 }, (_, byte) => cp437(byte));
    assert.ok(all.every((c) => c.length === 1));
    assert.equal(new Set(all).size, 254, 'only 0, 32 and 255 look the same');
    assert.deepEqual(
      [cp437(1), cp437(0x7f), cp437(0x80), cp437(0xb0), cp437(0xe1)],
      ['☺', '⌂', 'Ç', '░', 'ß'],
    );
  });
});

suite('accelerator', () => {
  async function hostOf(
    t: TestContext,
    parts: Partial<AccelHost>,
  ): Promise<{ host: AccelHost; probes: string[] }> {
    const folder = await mkdtemp(join(tmpdir(), 'polyboot-accel-'));
    t.after(() => rm(folder, { recursive: true }));
    const probes: string[] = [];
    const host: AccelHost = {
      kvmOpens: () => true,
      bootId: () => 'boot-1',
      probe: (accel) => {
        probes.push(accel);
        return Promise.resolve(undefined);
      },
      cacheFile: join(folder, 'deep', 'accel.json'),
      ...parts,
    };
    return { host, probes };
  }

  test('no /dev/kvm: translated, nothing is tried', async (t) => {
    const { host, probes } = await hostOf(t, { kvmOpens: () => false });
    assert.equal((await chooseAccel(host)).accel, 'tcg');
    assert.deepEqual(probes, []);
  });

  test('KVM that works is tried once per boot of the host', async (t) => {
    const { host, probes } = await hostOf(t, {});
    assert.equal((await chooseAccel(host)).accel, 'kvm');
    assert.equal((await chooseAccel(host)).accel, 'kvm');
    assert.deepEqual(probes, ['kvm']);
    await chooseAccel({ ...host, bootId: () => 'boot-2' });
    assert.deepEqual(probes, ['kvm', 'kvm']);
  });

  test('KVM that exists and hangs: translated, and the reason is kept', async (t) => {
    const { host } = await hostOf(t, { probe: () => Promise.resolve('no answer') });
    const choice = await chooseAccel(host);
    assert.deepEqual(choice, {
      accel: 'tcg',
      reason: 'KVM did not boot a test sector: no answer',
    });
    assert.deepEqual(await chooseAccel(host), choice);
  });

  test('a home that cannot be written costs the memory of it, not the machine', async (t) => {
    const { host } = await hostOf(t, { cacheFile: '/dev/null/accel.json' });
    assert.equal((await chooseAccel(host)).accel, 'kvm');
  });

  test('a damaged cache counts as none', async (t) => {
    const { host, probes } = await hostOf(t, {});
    await chooseAccel(host);
    const good = await readFile(host.cacheFile, 'utf8');
    for (const bad of [
      '',
      'null',
      '[]',
      '{}',
      '"x"',
      good.replace('kvm', 'hax'),
      good.slice(0, -3),
    ]) {
      await writeFile(host.cacheFile, bad);
      assert.equal((await chooseAccel(host)).accel, 'kvm');
    }
    assert.equal(probes.length, 8);
  });

  test('the probe’s sector fits and ends in a halt', () => {
    const sector = printingSector('HI\n');
    assert.deepEqual([...sector.subarray(0, 6)], [0xba, 0xf8, 0x03, 0xb0, 0x48, 0xee]);
    assert.deepEqual([...sector.subarray(-4)], [0xfa, 0xf4, 0xeb, 0xfd]);
  });
});

suite('host', () => {
  test('a missing program names its package', () => {
    assert.throws(
      () => findProgram('qemu-system-x86_64', '/nowhere'),
      (e) => e instanceof EnvironmentError && /apt-get install qemu-system-x86/.test(e.message),
    );
  });

  test('UEFI: the first installed; none names the package', () => {
    const old = '/usr/share/OVMF/OVMF_';
    assert.equal(
      findUefiFirmware((p) => p.startsWith(old) && !p.includes('4M')).code,
      `${old}CODE.fd`,
    );
    assert.throws(
      () => findUefiFirmware(() => false),
      (e) => e instanceof EnvironmentError && /apt-get install ovmf/.test(e.message),
    );
  });

  test('a folder too deep for Unix sockets is refused before QEMU is', async () => {
    await assert.rejects(makeRunFolder(`/tmp/${'x'.repeat(90)}`), EnvironmentError);
  });

  test('what QEMU prints becomes what a person can do', () => {
    const cases = [
      ['could not configure /dev/net/tun (tap0): Operation not permitted', 'tap-forbidden'],
      ['qemu: -blockdev: Failed to get "write" lock', 'image-in-use'],
      ["-blockdev {…}: Unknown driver 'iscsi'", 'qemu-iscsi-missing'],
      ['Could not access KVM kernel module: Permission denied', 'kvm-unusable'],
      ["cannot set up guest memory 'pc.ram': Cannot allocate memory", 'no-memory'],
      ['-vnc: Failed to bind socket: Address already in use', 'port-taken'],
      ['something new', 'qemu-start'],
    ] as const;
    for (const [stderr, code] of cases) {
      const error = startFailure(stderr, 'qemu …');
      assert.equal(error.code, code);
      assert.ok(error.message.includes(stderr));
    }
  });
});
