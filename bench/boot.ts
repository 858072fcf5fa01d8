import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { assemble, debianDisk } from '../test/boot/images.ts';
import { makeDisk } from '../test/boot/mbr.ts';
import { Rig, type ServerKind } from '../test/boot/rig.ts';
import { GUEST_LIMIT_MS, macOf, type FirstStage } from '../test/lab/vm.ts';

/**
 * Seconds from power-on to a boot sector and to a login prompt, of a virtual machine that boots
 * from us, and from dnsmasq + nginx + tgt on a copy of the same image: `peers` as their packages
 * set them up, `tuned` with a router advertisement and without dnsmasq's ping before an offer.
 * Every boot has a fresh server and a machine that it never saw; the servers take turns, so that
 * a busy host slows all of them. Figures are medians; a ratio below 1 means that we are faster.
 *
 *     node bench/boot.ts [--runs 5] [--only sector,login] [--servers polyboot,peers,tuned-peers]
 */
const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    only: { type: 'string', default: 'sector-rom,sector-vendor,login-rom,login-uefi' },
    servers: { type: 'string', default: 'polyboot,tuned-peers,peers' },
  },
});

type Goal = {
  readonly name: string;
  readonly stage: FirstStage;
  readonly disk: (folder: string) => Promise<string>;
  /** What the guest prints when it is there. */
  readonly reached: RegExp;
};

async function sectorDisk(folder: string): Promise<string> {
  const file = join(folder, 'sector.img');
  const code = await readFile(await assemble(folder, 'write.asm'));
  await makeDisk(file, 16 * 1024 * 1024, { code });
  return file;
}

const GOALS: readonly Goal[] = [
  { name: 'sector-rom', stage: 'ipxe-rom', disk: sectorDisk, reached: /WROTE 80/ },
  { name: 'sector-vendor', stage: 'bios-vendor', disk: sectorDisk, reached: /WROTE 80/ },
  { name: 'login-rom', stage: 'ipxe-rom', disk: debianDisk, reached: / login: $/ },
  { name: 'login-uefi', stage: 'uefi-pxe', disk: debianDisk, reached: / login: $/ },
];

/** One boot from a fresh server; returns seconds from power-on to the goal. */
async function bootOnce(server: ServerKind, goal: Goal): Promise<number> {
  const rig = await Rig.create({ server });
  try {
    const name = 'bench';
    const mac = macOf(name);
    await rig.server.addMachine({ name, mac, drives: [await goal.disk(rig.folder)] });
    const machine = await rig.boot({ name, mac, stage: goal.stage });
    await machine.serial.waitFor(goal.reached, GUEST_LIMIT_MS);
    return machine.elapsedMs / 1000;
  } finally {
    await rig.close();
  }
}

function median(figures: readonly number[]): number {
  const sorted = figures.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? Number.NaN)) / 2;
}

const say = (line: string): boolean => process.stdout.write(`${line}\n`);
const servers = values.servers.split(',') as ServerKind[];
for (const goal of GOALS.filter((g) => values.only.split(',').some((o) => g.name.startsWith(o)))) {
  const seconds = new Map<ServerKind, number[]>(servers.map((s) => [s, []]));
  for (let run = 0; run < Number(values.runs); run++) {
    // Who goes first changes from run to run.
    for (const server of run % 2 === 0 ? servers : servers.toReversed()) {
      seconds.get(server)?.push(await bootOnce(server, goal));
    }
  }
  for (const server of servers) {
    const all = (seconds.get(server) ?? []).map((s) => s.toFixed(2)).join(' ');
    say(
      `${goal.name}  ${server}: median ${median(seconds.get(server) ?? []).toFixed(2)} s (${all})`,
    );
  }
  const ours = seconds.get('polyboot') ?? [];
  for (const server of servers.filter((s) => s !== 'polyboot')) {
    const theirs = seconds.get(server) ?? [];
    const ratios = ours.map((s, n) => s / (theirs[n] ?? Number.NaN));
    say(`${goal.name}  polyboot/${server}: ${median(ratios).toFixed(3)} (median of paired ratios)`);
  }
}
