import { JSON_OPTION, misused, type Command } from '../command.ts';
import { changeFrom, MACHINE_OPTIONS } from '../machine-options.ts';
import { showMachine } from './machine-show.ts';

/** `polyboot machine set`. */
export const machineSet: Command = {
  words: ['machine', 'set'],
  summary: 'change what is said of a machine; the rest stays',
  details: '"none" clears --uuid, --address, --loader, --note, --chap-user and --drive.',
  args: [{ name: 'name', help: 'machine' }],
  options: [{ flags: '--name <NEW>', help: 'another name' }, ...MACHINE_OPTIONS, JSON_OPTION],
  run: async (call, { client, screen, clock, cwd }) => {
    const name = call.arg('name');
    const { plan } = await client.machine(name);
    const to = call.text('name');
    const change = { ...changeFrom(call, cwd, plan), ...(to === undefined ? {} : { name: to }) };
    if (Object.keys(change).length === 0)
      throw misused('nothing to set', '--help shows what there is');
    const machine = await client.setMachine(name, change);
    if (call.flag('json')) screen.json(machine);
    else showMachine(screen, machine, clock.wallMs());
    return 0;
  },
};
