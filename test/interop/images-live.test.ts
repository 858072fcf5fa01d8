import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { need } from '../lab/need.ts';
import { Lab } from '../lab/netns.ts';
import { run, type Running } from '../lab/process.ts';

/**
 * Overlays and points behind a whole server: a machine boots (it fetches its script), QEMU's iSCSI
 * initiator is the system that writes to its disk, the command line does the verbs.
 */
const MAIN = join(import.meta.dirname, '../../src/main.ts');
const NEEDS = {
  root: true,
  tools: ['ip', 'qemu-io', 'curl'],
  files: ['/usr/lib/ipxe/undionly.kpxe', '/usr/lib/x86_64-linux-gnu/qemu/block-iscsi.so'],
};
const MAC = '52:54:00:00:00:04';
const PREFIX = 'iqn.2026-11.org.polyboot:';
const AT = '1M';

type Bench = {
  readonly lab: Lab;
  readonly up: () => Promise<Running>;
  readonly cli: (line: string) => Promise<string>;
  /** The machine fetches its script, as iPXE does when it boots. */
  readonly boot: () => Promise<string>;
  /** What stands on the machine's disk. */
  readonly seen: () => Promise<string>;
  readonly write: (letter: string) => Promise<void>;
  /** What qemu-io says to a command. */
  readonly ask: (command: string) => Promise<string>;
  /** A system that stays logged in. */
  readonly system: () => Promise<Running>;
};

async function bench(t: TestContext, lab: Lab, folder: string): Promise<Bench> {
  const config = join(folder, 'polyboot.yaml');
  const socket = join(folder, 'admin.sock');
  await writeFile(
    config,
    `state: ${folder}/state\nadmin: { socket: ${socket} }\nnetworks:\n  - { interface: br0, dhcp: server, pool: 10.77.0.100-200 }\n`,
  );
  const env = { ...process.env, POLYBOOT_SOCKET: socket };
  const disk = [
    'driver=raw,file.driver=iscsi,file.transport=tcp,file.portal=10.77.0.1',
    `file.target=${PREFIX}p4.0,file.lun=0,file.initiator-name=${PREFIX}p4`,
  ].join(',');
  const qemuIo = (command: string): Promise<string> =>
    lab.run('qemu-io', ['--image-opts', disk, '-c', command]);
  t.after(() => lab.close());
  return {
    lab,
    up: async () => {
      const server = lab.start(process.execPath, [MAIN, 'up', '--config', config]);
      await server.waitFor(/^ready/m);
      return server;
    },
    cli: (line) => run(process.execPath, [MAIN, ...line.split(' ')], { env }),
    boot: () =>
      lab.run('curl', ['-sS', `http://10.77.0.1:8080/boot/${MAC.replaceAll(':', '-')}.ipxe`]),
    seen: async () => {
      for (const letter of ['A', 'B', '\0']) {
        const pattern = letter.charCodeAt(0);
        const out = await qemuIo(`read -P ${pattern} ${AT} 4k`).catch(() => 'failed');
        if (!/failed/.test(out)) return letter === '\0' ? 'nothing' : letter;
      }
      return 'something else';
    },
    ask: qemuIo,
    write: async (letter) => {
      await qemuIo(`write -P ${letter.charCodeAt(0)} ${AT} 4k`);
    },
    system: async () => {
      const system = lab.start('qemu-io', ['--image-opts', disk]);
      await system.waitFor(/qemu-io>/);
      return system;
    },
  };
}

test('overlays and points of a served disk', async (t) => {
  if (!need(t, NEEDS)) return;
  const folder = await mkdtemp(join(tmpdir(), 'polyboot-live-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const it = await bench(t, await Lab.create(), folder);
  let server = await it.up();
  const restart = async (): Promise<void> => {
    // To a new server, the next script is a boot.
    const { code, stderr } = await server.stop();
    assert.equal(code, 0, stderr);
    server = await it.up();
  };
  await it.cli('image create golden --preset gpt --size 16M');
  await it.cli('image freeze golden --comment v1');
  await it.cli(`machine add p4 --mac ${MAC} --drive golden:overlay-fresh`);
  assert.match(await it.boot(), /iqn\.2026-11\.org\.polyboot:p4\.0/);
  assert.equal(await it.seen(), 'nothing');
  await it.write('A');
  await it.boot();
  assert.equal(await it.seen(), 'A', 'a script fetched again is the same boot');
  await restart();
  assert.equal(await it.seen(), 'A', 'a server that starts again is no boot');
  await it.boot();
  assert.equal(await it.seen(), 'nothing', 'the next boot begins anew');

  await it.write('A');
  await it.cli('image keep p4');
  await restart();
  await it.boot();
  assert.equal(await it.seen(), 'A', 'kept for one boot');
  assert.match(await it.cli('image promote p4 --machine --comment v2'), /version 2 is in force/);
  assert.equal(await it.seen(), 'A');
  await it.write('B');
  await restart();
  await it.boot();
  assert.equal(await it.seen(), 'A', 'a fresh overlay of the new version');

  await it.cli('image overlay golden@1 own');
  await it.cli('machine set p4 --drive own');
  await restart();
  await it.boot();
  assert.equal(await it.seen(), 'nothing');
  await it.write('A');
  await it.cli('image snapshot own --comment before');
  await it.write('B');
  await it.cli('image rollback own');
  assert.equal(await it.seen(), 'A');
  const system = await it.system();
  await assert.rejects(it.cli('image rollback own'), /machine "p4" is running from it/);
  assert.match(await it.cli('image snapshot own'), /a system ran from it/);
  system.child.stdin?.write(`write -P ${'B'.charCodeAt(0)} ${AT} 4k\n`);
  await system.waitFor(/wrote 4096\/4096 bytes/);
  await it.cli('image resize own --size 32M');
  system.child.stdin?.write(`read -P ${'B'.charCodeAt(0)} ${AT} 4k\n`);
  await system.waitFor(/read 4096\/4096 bytes/);
  await system.stop();
  assert.equal(await it.seen(), 'B', 'it went on, on the new layer');
  assert.match(await it.ask('length'), /32 MiB/, 'larger under the running system');
  await it.cli('image rollback own@2');
  assert.equal(await it.seen(), 'A', 'the snapshot is of the moment when it was taken');
  assert.match(await it.cli('image check own'), /done|warning/);
  await server.stop();
});
