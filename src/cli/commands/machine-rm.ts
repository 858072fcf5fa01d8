import type { Command } from '../command.ts';

/** `polyboot machine rm`. */
export const machineRm: Command = {
  words: ['machine', 'rm'],
  summary: 'forget a machine; its images stay',
  args: [{ name: 'name', help: 'machine' }],
  run: async (call, { client, screen }) => {
    const name = call.arg('name');
    await client.removeMachine(name);
    screen.line(`removed machine ${name}`);
    for (const { image, machine, gone } of await client.overlays()) {
      if (!gone || machine !== name) continue;
      screen.line(
        `what it wrote on ${image} stays, until: polyboot image discard ${name}` +
          ` (or make it the new version: polyboot image promote ${name} --machine)`,
      );
    }
    return 0;
  },
};
