import type { Command } from '../command.ts';

/** `polyboot image rm`. */
export const imageRm: Command = {
  words: ['image', 'rm'],
  summary: 'remove an image; its file too when polyboot made it',
  args: [{ name: 'name', help: 'image' }],
  run: async (call, { client, screen }) => {
    await client.removeImage(call.arg('name'));
    screen.line(`removed image ${call.arg('name')}`);
    return 0;
  },
};
