import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { VirtualMachine } from '#vm/mod.ts';
import { debianDisk } from '../test/boot/images.ts';
import { Rig } from '../test/boot/rig.ts';
import { GUEST_LIMIT_MS, macOf } from '../test/lab/vm.ts';

/**
 * A class that powers on together: one machine alone, then many at once, from one golden Debian,
 * each on a fresh overlay. Seconds from power-on to the login prompt of the first and the last,
 * what the server read from the disk, its resident memory, and the space that each overlay takes.
 *
 *     node bench/crowd.ts [--machines 20] [--memory 256]
 *
 * The guests are translated by QEMU on this host: with more guests than processors the time is
 * theirs, not the server's; its share is the processor time in the last line.
 */
const { values } = parseArgs({
  options: {
    machines: { type: 'string', default: '20' },
    memory: { type: 'string', default: '256' },
  },
});
/** A guest gets a fraction of a processor. */
const LIMIT_MS = Number(values.machines) * GUEST_LIMIT_MS;
const TICKS_PER_SECOND = 100;

const say = (line: string): boolean => process.stdout.write(`${line}\n`);

type Usage = { readonly readBytes: number; readonly rssBytes: number; readonly cpuSeconds: number };

/** What the process tree below `pid` used so far: the server runs below `ip netns exec`. */
async function usageOf(pid: number): Promise<Usage> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
  const below = await Promise.all(
    children
      .split(' ')
      .filter(Boolean)
      .map((child) => usageOf(Number(child))),
  );
  const io = await readFile(`/proc/${pid}/io`, 'utf8');
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8')).split(') ')[1]?.split(' ') ?? [];
  const own: Usage = {
    readBytes: Number(/^read_bytes: (\d+)/m.exec(io)?.[1]),
    rssBytes: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024,
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
  };
  return below.reduce(
    (sum, more) => ({
      readBytes: sum.readBytes + more.readBytes,
      rssBytes: Math.max(sum.rssBytes, more.rssBytes),
      cpuSeconds: sum.cpuSeconds + more.cpuSeconds,
    }),
    own,
  );
}

async function powerOn(rig: Rig, names: readonly string[]): Promise<number[]> {
  const machines: VirtualMachine[] = [];
  const memoryMib = Number(values.memory);
  for (const name of names) {
    machines.push(await rig.boot({ name, mac: macOf(name), stage: 'ipxe-rom', memoryMib }));
  }
  const seconds = await Promise.all(
    machines.map(async (machine) => {
      await machine.serial.waitFor(/ login: $/, LIMIT_MS);
      return machine.elapsedMs / 1000;
    }),
  );
  for (const machine of machines) await machine.stop();
  return seconds.toSorted((a, b) => a - b);
}

const rig = await Rig.create({ server: 'polyboot' });
try {
  const cli = (...args: string[]): Promise<unknown> => rig.polyboot.cli(...args);
  const base = await debianDisk(rig.folder, 'golden');
  await cli('image', 'add', base, '--name', 'golden');
  await cli('image', 'freeze', 'golden');
  const names = Array.from({ length: Number(values.machines) }, (_, n) => `pupil${n}`);
  for (const name of ['alone', ...names]) {
    await cli('machine', 'add', name, '--mac', macOf(name), '--drive', 'golden:overlay-fresh');
  }
  const [alone = Number.NaN] = await powerOn(rig, ['alone']);
  say(`one alone: ${alone.toFixed(1)} s to its login`);
  const before = await usageOf(rig.polyboot.pid);
  const seconds = await powerOn(rig, names);
  const after = await usageOf(rig.polyboot.pid);
  const [first = Number.NaN] = seconds;
  const last = seconds.at(-1) ?? Number.NaN;
  const count = names.length;
  say(`${count} at once: first ${first.toFixed(1)} s, last ${last.toFixed(1)} s`);
  say(`read from the disk by the server: ${after.readBytes - before.readBytes} bytes`);
  say(`resident memory of the server: ${(after.rssBytes / 2 ** 20).toFixed(0)} MiB`);
  const sizes = await overlaySizes(rig.folder);
  const total = sizes.reduce((a, b) => a + b, 0);
  say(
    `space of an overlay after its boot: ${(total / sizes.length / 2 ** 20).toFixed(1)} MiB mean`,
  );
  const cpu = after.cpuSeconds - before.cpuSeconds;
  say(`processor time of the server: ${(cpu / count).toFixed(2)} s for each machine`);
} finally {
  await rig.close();
}

async function overlaySizes(folder: string): Promise<number[]> {
  const images = join(folder, 'state/images');
  const files = (await readdir(images)).filter((f) => f.endsWith('.qcow2'));
  const stats = await Promise.all(files.map((f) => stat(join(images, f))));
  return stats.map((s) => s.blocks * 512).filter((bytes) => bytes > 1024 * 1024);
}
