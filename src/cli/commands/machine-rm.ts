import type { Command } from '../command.ts';

/** `polyboot machine rm`. */
export const machineRm: Command = {
  words: ['machine', 'rm'],
  summary: 'forget a machine; its images stay',
  args: [{ name: 'name', help: 'machine' }],
  run: async (call, { client, screen }) => {
    await client.removeMachine(call.arg('name'));
    screen.line(`removed machine ${call.arg('name')}`);
    return 0;
  },
};
