import { JSON_OPTION, misused, type Command } from '../command.ts';
import { changeFrom, MACHINE_OPTIONS } from '../machine-options.ts';
import { showMachine } from './machine-show.ts';

/** `polyboot machine add`. */
export const machineAdd: Command = {
  words: ['machine', 'add'],
  summary: 'add a machine; one that introduced itself under its MAC becomes it',
  details: 'Example: polyboot machine add p4 --mac 52:54:00:12:34:56 --drive dos',
  args: [{ name: 'name', help: 'name of the machine (a DNS label)' }],
  options: [...MACHINE_OPTIONS, JSON_OPTION],
  run: async (call, { client, screen, clock, cwd }) => {
    const { macs, ...rest } = changeFrom(call, cwd);
    if (macs === undefined) throw misused('--mac is needed', 'it is what a machine is known by');
    const said = Object.entries(rest).filter(([, value]) => value !== null);
    const name = call.arg('name');
    const machine = await client.addMachine({ ...Object.fromEntries(said), name, macs });
    if (call.flag('json')) screen.json(machine);
    else showMachine(screen, machine, clock.wallMs());
    return 0;
  },
};
