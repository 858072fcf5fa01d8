import { JSON_OPTION, type Command } from '../command.ts';
import { ago, driveWords, planWords } from '../words.ts';

/** `polyboot machine list`. */
export const machineList: Command = {
  words: ['machine', 'list'],
  summary: 'all machines, what they boot, and when they were last seen',
  options: [JSON_OPTION],
  run: async (call, { client, screen, clock }) => {
    const machines = await client.machines();
    if (call.flag('json')) screen.json(machines);
    else {
      screen.table(
        ['NAME', 'MAC', 'ADDRESS', 'BOOTS', 'DRIVES', 'SEEN', 'NOTE'],
        machines.map((m) => [
          m.registered ? m.name : `${m.name} (new)`,
          m.macs.join(' '),
          m.address ?? '',
          m.nextBoot === undefined ? planWords(m.plan) : `${planWords(m.nextBoot.plan)} (once)`,
          driveWords(m.drives),
          ago(m.seenAtMs, clock.wallMs()),
          m.note ?? '',
        ]),
      );
    }
    return 0;
  },
};
