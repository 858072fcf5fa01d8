import type { AdminClient, BootOnce, MachineView } from '#api/mod.ts';
import { JSON_OPTION, misused, type Call, type Command } from '../command.ts';
import { DRIVE_OPTION, drivesFrom, PLAN_OPTIONS, planFrom } from '../plan-options.ts';
import { showMachine } from './machine-show.ts';

/** `polyboot machine boot`. */
export const machineBoot: Command = {
  words: ['machine', 'boot'],
  summary: 'say what a machine boots from now on, or with --once what it boots next',
  details:
    'With --drive alone it boots from these drives. --cancel takes a pending --once back.\n' +
    'Example: polyboot machine boot p4 --drive rescue:shared --once',
  args: [{ name: 'name', help: 'machine' }],
  options: [
    ...PLAN_OPTIONS,
    DRIVE_OPTION,
    { flags: '--once', help: 'for the next boot only' },
    { flags: '--cancel', help: 'no longer anything special for the next boot' },
    JSON_OPTION,
  ],
  run: async (call, { client, screen, clock, cwd }) => {
    const machine = await change(call, client, cwd);
    if (call.flag('json')) screen.json(machine);
    else showMachine(screen, machine, clock.wallMs());
    return 0;
  },
};

async function change(call: Call, client: AdminClient, cwd: string): Promise<MachineView> {
  const name = call.arg('name');
  const old = await client.machine(name);
  const drives = drivesFrom(call);
  const plan = planFrom(call, cwd, old.plan) ?? (drives === undefined ? undefined : SAN);
  if (call.flag('cancel')) {
    if (plan !== undefined) throw misused('--cancel does not go with a plan or drives');
    return client.bootMachine(name, null);
  }
  if (plan === undefined) throw misused('say what to boot: --plan, --drive, --iso, --kernel …');
  const boot: BootOnce = { plan, ...(drives === undefined ? {} : { drives }) };
  return call.flag('once') ? client.bootMachine(name, boot) : client.setMachine(name, boot);
}

const SAN = { kind: 'san' } as const;
