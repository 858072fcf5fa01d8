import type { MachineView } from '#api/mod.ts';
import { JSON_OPTION, type Command } from '../command.ts';
import type { Screen } from '../screen.ts';
import { ago, driveWords, isoTime, planWords } from '../words.ts';

/** `polyboot machine show`. */
export const machineShow: Command = {
  words: ['machine', 'show'],
  summary: 'one machine',
  args: [{ name: 'name', help: 'machine' }],
  options: [JSON_OPTION],
  run: async (call, { client, screen, clock }) => {
    const machine = await client.machine(call.arg('name'));
    if (call.flag('json')) screen.json(machine);
    else showMachine(screen, machine, clock.wallMs());
    return 0;
  },
};

/** A machine as lines. */
export function showMachine(screen: Screen, machine: MachineView, nowMs: number): void {
  const { plan, chap, nextBoot, thisBoot } = machine;
  const drives = machine.drives.map((drive, n) => {
    const target = machine.targets[n] ?? '';
    return [`drive 0x${(0x80 + n).toString(16)}`, `${driveWords([drive])} (${target})`] as const;
  });
  screen.fields({
    machine: machine.registered ? machine.name : `${machine.name} (introduced itself)`,
    macs: machine.macs.join(', '),
    uuid: machine.uuid,
    address: machine.address,
    boots: planWords(plan),
    initrd: plan.kind === 'kernel' ? plan.initrd.join(', ') || undefined : undefined,
    cmdline: plan.kind === 'kernel' ? plan.cmdline || undefined : undefined,
    ...Object.fromEntries(drives),
    'next boot': nextBoot && bootWords(nextBoot),
    'this boot': thisBoot && bootWords(thisBoot),
    initiator: machine.initiator,
    CHAP: chap && `${chap.user}${chap.mutualUser === undefined ? '' : `, and ${chap.mutualUser}`}`,
    loader: machine.loader,
    architecture: machine.arch === undefined ? undefined : `${machine.arch} (option 93)`,
    seen: ago(machine.seenAtMs, nowMs),
    added: isoTime(machine.createdAtMs),
    note: machine.note,
  });
}

function bootWords({ plan, drives }: NonNullable<MachineView['nextBoot']>): string {
  const words = `${planWords(plan)}, once`;
  return drives === undefined ? words : `${words}, drives: ${driveWords(drives) || 'none'}`;
}
