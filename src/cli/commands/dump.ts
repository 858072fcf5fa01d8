import { stringify } from 'yaml';
import { JSON_OPTION, type Command } from '../command.ts';

/** `polyboot dump`. */
export const dump: Command = {
  words: ['dump'],
  summary: 'write machines and images as a file that `polyboot apply` takes',
  options: [
    { flags: '--secrets', help: 'with the CHAP secrets (needed on another server)' },
    JSON_OPTION,
  ],
  run: async (call, { client, screen }) => {
    const lab = await client.state(call.flag('secrets'));
    if (call.flag('json')) screen.json(lab);
    else screen.out.write(stringify(lab, { lineWidth: 0 }));
    return 0;
  },
};
